// Command web is the application that tests and the demo run in dynos: a small web server that is also a worker, a log
// generator and a troublemaker. Its first argument chooses:
//
//	web                 answer HTTP on $PORT with the host's name, log each request; also as worker if LINES is set
//	worker              write LINES lines a second (default 1) until SIGTERM
//	burst <n>           write n lines at once and end
//	crash <after> [code]   write a line, end after that time (Go syntax) with that status (default 1)
//	ignore-term         outlive SIGTERM
//	alloc <MiB> [pause]   take and touch that much memory, with a pause before each MiB (default none), then wait
//	fork <depth>        a chain of that many processes, all waiting
//	env                 write the environment and end
//
// Numbered lines read "seq=<n>", from 1 without gaps; web and worker end on SIGTERM with "end seq=<n>", so that a
// receiver can tell whether it has every line. Standard output carries them; STREAM=err chooses standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if len(args) == 0 {
		return errors.New("usage: web web|worker|burst|crash|ignore-term|alloc|fork|env [argument]")
	}
	switch args[0] {
	case "web":
		return web(ctx, lines())
	case "worker":
		return worker(ctx, lines())
	case "burst":
		n, err := number(args, 1, 1000)
		return errors.Join(err, burst(lines(), n))
	case "crash":
		return crash(args)
	case "ignore-term":
		return ignoreTerm()
	case "alloc":
		mib, err := number(args, 1, 16)
		pause, errPause := time.ParseDuration(append(args, "0s", "0s")[2])
		if err := errors.Join(err, errPause); err != nil {
			return err
		}
		return alloc(ctx, mib, pause)
	case "fork":
		depth, err := number(args, 1, 1)
		return errors.Join(err, fork(ctx, depth))
	case "env":
		for _, pair := range os.Environ() {
			fmt.Println(pair)
		}
		return nil
	}
	return fmt.Errorf("unknown mode %q", args[0])
}

// number is the argument at that place, or otherwise if it is not given.
func number(args []string, at, otherwise int) (int, error) {
	if len(args) <= at {
		return otherwise, nil
	}
	n, err := strconv.Atoi(args[at])
	if err != nil {
		return 0, fmt.Errorf("read number: %w", err)
	}
	return n, nil
}

func crash(args []string) error {
	after, err := time.ParseDuration(append(args, "", "0s")[1])
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	code, err := number(args, 2, 1)
	if err != nil {
		return err
	}
	fmt.Printf("crash with status %d in %s\n", code, after)
	time.Sleep(after)
	os.Exit(code)
	return nil
}
