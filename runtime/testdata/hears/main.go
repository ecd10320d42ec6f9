// Command hears prints the name of every signal that it gets.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	c := make(chan os.Signal, 64)
	signal.Notify(c, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGALRM)
	fmt.Println("up")
	for s := range c {
		fmt.Println(unix.SignalName(s.(syscall.Signal)))
	}
}
