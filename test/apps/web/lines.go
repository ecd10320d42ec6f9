package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// beat is how often a worker wakes to write the lines that have become due.
const beat = 10 * time.Millisecond

// counter writes numbered lines.
type counter struct {
	out io.Writer
	seq int
}

func lines() *counter {
	if os.Getenv("STREAM") == "err" {
		return &counter{out: os.Stderr}
	}
	return &counter{out: os.Stdout}
}

// write writes the next n lines in as few writes as a buffer of 64 KiB allows.
func (c *counter) write(n int) error {
	w := bufio.NewWriterSize(c.out, 64<<10)
	for range n {
		c.seq++
		fmt.Fprintf(w, "seq=%d\n", c.seq)
	}
	return w.Flush()
}

func (c *counter) end() error {
	_, err := fmt.Fprintf(c.out, "end seq=%d\n", c.seq)
	return err
}

// rate is LINES, in lines a second.
func rate(otherwise int) (int, error) {
	text, set := os.LookupEnv("LINES")
	if !set {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read LINES: %w", err)
	}
	return n, nil
}

// worker writes at a steady rate counted from its start, so that a wait is made up for afterwards.
func worker(ctx context.Context, c *counter) error {
	perSecond, err := rate(1)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for start := time.Now(); ; {
		select {
		case <-ctx.Done():
			return c.end()
		case now := <-ticker.C:
			due := int(now.Sub(start).Seconds() * float64(perSecond))
			if err := c.write(due - c.seq); err != nil {
				return err
			}
		}
	}
}

func burst(c *counter, n int) error {
	if err := c.write(n); err != nil {
		return err
	}
	return c.end()
}
