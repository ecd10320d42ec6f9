// Command logs measures what a log line costs, beside Docker and ctr, on the same machine in the same run: lines of 100
// bytes, one a write, as fast as they are taken. It counts the CPU of every process that helps, but not the generator's
// and not the receiving control plane's. It measures the memory of agent and capture beside many dynos too, and how long a
// quiet dyno's lines take beside one that floods. It prints tables, writes build/bench-logs.json, and fails if a figure is
// worse than promised. Everything runs in a lab.
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

	"github.com/dynod/dynod/test/exact/upstream"
	"github.com/dynod/dynod/test/lab"
)

// config leaves no bound in the way. The size is for many small dynos.
const config = `[logs]
spool_bytes = "4GiB"
ingest_bytes_per_second = "0B"
[sizes.tiny]
memory = "32MiB"
`

type bench struct {
	*upstream.Stage
	lines int // of one measurement
	runs  int // of each
	dynos int // for the measurement of memory

	gen, slug, sum string
	started        int // dynos so far
}

func main() {
	b := &bench{}
	flag.IntVar(&b.lines, "lines", 2_000_000, "lines of one measurement")
	flag.IntVar(&b.runs, "runs", 3, "measurements of each; the median counts")
	flag.IntVar(&b.dynos, "dynos", 200, "dynos for the measurement of memory; 0: none")
	out := flag.String("o", "build/bench-logs.json", "file for the figures")
	flag.Parse()
	if err := b.run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(file string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := os.Setenv("DYNOD_LOG_LEVEL", "info"); err != nil { // the lab's own configuration says debug
		return err
	}
	l, err := lab.Open("bench-logs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if b.gen, err = lab.Generator(ctx); err != nil {
		return err
	}
	if b.slug, b.sum, err = lab.GeneratorSlug(ctx); err != nil {
		return err
	}
	if b.Stage, err = upstream.Open(ctx, l, config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	f, err := b.measure(ctx)
	if err != nil {
		return fmt.Errorf("%w\n\nthe agent's log ends:\n%s", err, b.Tail("agent.log"))
	}
	fmt.Print(f.table())
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(data, '\n'), 0o644), f.missed())
}

// measure goes from what needs the agent to what is better off without.
func (b *bench) measure(ctx context.Context) (figures, error) {
	var f figures
	var err error
	if b.dynos > 0 {
		if f.Memory, err = b.memory(ctx); err != nil {
			return f, err
		}
	}
	if f.Latency, err = b.latency(ctx); err != nil {
		return f, err
	}
	if err := f.repeat(ctx, b, upstreamName, b.through); err != nil {
		return f, err
	}
	b.Server.Down()
	if err := f.repeat(ctx, b, diskName, b.toDisk); err != nil {
		return f, err
	}
	if err := b.StopAgent(); err != nil {
		return f, err
	}
	docker, err := b.openDocker(ctx)
	if err != nil {
		return f, err
	}
	if err := f.repeat(ctx, b, dockerName, docker.run); err != nil {
		return f, err
	}
	if err := docker.Close(); err != nil {
		return f, err
	}
	return f, f.repeat(ctx, b, "ctr run, FIFO to a file", b.ctr)
}
