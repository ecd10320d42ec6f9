package main

import "golang.org/x/sys/unix"

// manyDescriptors is more than two hundred dynos need.
const manyDescriptors = 4096

// makeRoom has the kernel make this process' table of descriptors large at once. It would enlarge it with the dynos, and each time
// a process with threads waits until every CPU has been at rest once, in the middle of somebody's start.
func makeRoom() {
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, manyDescriptors-1)
	if err == nil { // else the limit is lower
		_ = unix.Close(fd)
	}
}
