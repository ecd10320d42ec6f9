package spool

// For the tests.
var (
	FileName    = fileName
	ParseCursor = parseCursor
	ParseLost   = parseLost

	ParseProgress  = parseProgress
	EncodeProgress = Progress.encode
)

// Encode is what the file of a hole holds.
func (l Lost) Encode() string { return l.encode() }
