package proc

var FreeSlab = freeSlab
