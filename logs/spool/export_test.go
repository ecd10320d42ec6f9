package spool

// For the tests.
var (
	FileName    = fileName
	ParseCursor = parseCursor
)
