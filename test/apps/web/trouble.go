package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// ignoreTerm counts the SIGTERMs that it does not follow.
func ignoreTerm() error {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ignoring SIGTERM")
	for n := 1; ; n++ {
		<-c
		fmt.Printf("ignored SIGTERM %d\n", n)
	}
}

// alloc writes to every page, or the kernel would only promise the memory.
func alloc(ctx context.Context, mib int, pause time.Duration) error {
	var held [][]byte
	for n := range mib {
		time.Sleep(pause)
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += os.Getpagesize() {
			block[i] = 1
		}
		held = append(held, block)
		if (n+1)%16 == 0 || n+1 == mib {
			fmt.Printf("holding %d MiB\n", len(held))
		}
	}
	<-ctx.Done()
	fmt.Printf("letting go of %d MiB\n", len(held))
	runtime.KeepAlive(held) // its length alone would not keep it
	return nil
}

// fork starts itself one level down. Each level waits for SIGTERM of its own: nobody passes it on.
func fork(ctx context.Context, depth int) error {
	fmt.Printf("level %d is process %d\n", depth, os.Getpid())
	if depth > 1 {
		cmd := exec.Command("/proc/self/exe", "fork", strconv.Itoa(depth-1))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start level %d: %w", depth-1, err)
		}
	}
	<-ctx.Done()
	return nil
}
