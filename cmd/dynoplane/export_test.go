package main

// Run is the whole command for the tests, which run it in a process of its own.
var Run = run
