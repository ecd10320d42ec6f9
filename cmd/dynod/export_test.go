package main

// Open to the tests, which are outside of the package.
var (
	CaptureArgs  = captureArgs
	ListenRemote = listenRemote
)
