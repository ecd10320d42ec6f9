package main

// CaptureArgs is open to the tests, which are outside of the package.
var CaptureArgs = captureArgs
