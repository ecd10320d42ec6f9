package main

// Run is the whole command for the tests, which run it in a process of its own.
func Run() int {
	version = "1.2.3"
	return run()
}
