// Command fleet has many simulated hosts report to one dynoplane: the agent with its real upstream client, on fake
// parts, all in this process. It measures what heartbeats and logs cost per host and per core of the control plane, and
// what happens when all hosts come back at once. It prints the results and writes build/fleet.json. Nothing leaves the
// machine: all speak over the loopback interface, with mutual TLS.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dynod/dynod/test/rig"
)

func main() {
	s := Settings{}
	flag.IntVar(&s.Hosts, "hosts", 1000, "simulated hosts")
	flag.IntVar(&s.Dynos, "dynos", 10, "dynos of each")
	flag.DurationVar(&s.Heartbeat, "heartbeat", 10*time.Second, "time between two reports of a host")
	flag.DurationVar(&s.Steady, "steady", 20*time.Second, "how long heartbeats are measured, and then logs")
	flag.DurationVar(&s.Outage, "outage", 20*time.Second, "how long the control plane is away, the second time")
	out := flag.String("o", "build/fleet.json", "file for the results")
	flag.Parse()
	if err := run(s, *out); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(s Settings, file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bin, err := rig.BuildPlain(ctx)
	if err != nil {
		return err
	}
	r, err := Measure(ctx, s, filepath.Join(bin, "dynoplane"))
	if err != nil {
		return err
	}
	fmt.Print(r)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(data, '\n'), 0o644))
}
