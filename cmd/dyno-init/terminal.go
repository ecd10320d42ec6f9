package main

import "golang.org/x/sys/unix"

// openTerminal makes a terminal of the dyno's own and opens both sides of it, neither as init's controlling terminal.
// The kernel opens the other side itself, so no name is looked up.
func openTerminal(rows, columns uint16) (terminal, tty int, err error) {
	terminal, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return none, none, err
	}
	err = unix.IoctlSetPointerInt(terminal, unix.TIOCSPTLCK, 0)
	if err == nil && rows|columns != 0 {
		err = unix.IoctlSetWinsize(terminal, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
	if err == nil {
		tty, err = peer(terminal)
	}
	if err != nil {
		shut(terminal)
		return none, none, err
	}
	return terminal, tty, nil
}

func peer(terminal int) (int, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(terminal), unix.TIOCGPTPEER, flags)
	if err != 0 {
		return none, err
	}
	return int(fd), nil
}
