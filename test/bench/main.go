// Command bench measures starts, stops, memory and slugs of dynod beside ctr, Docker and podman: on one machine, in one
// run, taking turns, with the same root file system and the same command, by the application's own clock. It prints
// tables and writes build/bench.json. Everything runs in a lab: no packet leaves the machine.
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
	"strings"
	"syscall"

	"github.com/dynod/dynod/test/bench/figures"
)

func main() {
	quick := flag.Bool("quick", false, "few runs: says whether all works, not how fast it is")
	only := flag.String("only", "", "comma-separated figures to measure ("+strings.Join(names(), ", ")+"); empty: all")
	out := flag.String("o", "build/bench.json", "file for the figures")
	flag.Parse()
	runs := full
	if *quick {
		runs = few
	}
	if err := run(runs, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(runs Runs, only, file string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parts, err := chosen(only)
	if err != nil {
		return err
	}
	b, err := open(ctx, runs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	fmt.Print(b.machine, "\n", b.runs, "\n")
	for _, p := range parts {
		if err := p.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w\n\nthe agent's log ends:\n%s", p.name, err, b.dynod.Tail("agent.log"))
		}
	}
	fmt.Printf("\n%s\n%s\n\n%s", b.machine, b.runs, b.figures.Table())
	return b.write(file)
}

func (b *bench) write(file string) error {
	data, err := json.MarshalIndent(struct {
		Machine machine             `json:"machine"`
		Runs    Runs                `json:"runs"`
		Control string              `json:"control"`
		Figures *figures.Figures    `json:"figures"`
		Ratios  map[string]*float64 `json:"ratios"`
	}{b.machine, b.runs, b.control, &b.figures, b.figures.Ratios()}, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(data, '\n'), 0o644))
}
