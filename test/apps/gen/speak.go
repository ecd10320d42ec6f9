package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/dynod/dynod/test/exact/numbered"
)

// beat is how often a speaker with a rate wakes at most.
const beat = 10 * time.Millisecond

// speak writes both streams side by side until it is told to stop.
func speak() (Told, error) {
	seed, errSeed := number("SEED")
	rate, errRate := number("RATE")
	limit, errLimit := number("LIMIT")
	if err := errors.Join(errSeed, errRate, errLimit); err != nil {
		return Told{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { appears("stop", time.Second); cancel() }()
	var both sync.WaitGroup
	var counts [2]numbered.Count
	var errs [2]error
	for i, out := range []*os.File{os.Stdout, os.Stderr} {
		s := &speaker{out: out, stream: numbered.New(seed + uint64(i)), rate: float64(rate)}
		if rate == 0 {
			s.limit = int64(limit)
		}
		both.Go(func() {
			errs[i] = s.run(ctx)
			counts[i] = s.stream.Count()
		})
	}
	both.Wait()
	return Told{counts[0], counts[1]}, errors.Join(errs[0], errs[1])
}

type speaker struct {
	out    *os.File
	stream *numbered.Stream
	rate   float64 // bytes a second; 0: any
	limit  int64   // bytes after which it is quiet; 0: none
	bytes  int64
	buf    []byte
}

// run counts from its start, so that a wait is made up for afterwards. What it says ends in the middle of a line.
func (s *speaker) run(ctx context.Context) error {
	for start := time.Now(); ctx.Err() == nil; {
		if s.limit > 0 && s.bytes >= s.limit {
			<-ctx.Done()
			break
		}
		if ahead := float64(s.bytes)/s.rate - time.Since(start).Seconds(); s.rate > 0 && ahead > 0 {
			time.Sleep(max(beat, time.Duration(ahead*float64(time.Second))))
			continue
		}
		s.buf = s.buf[:0]
		for range 1 + rand.IntN(200) {
			s.buf = s.stream.Next(s.buf)
			if s.rate > 0 && len(s.buf) > int(s.rate/20) {
				break
			}
		}
		if err := s.say(s.buf); err != nil {
			return err
		}
	}
	last := s.stream.Next(nil)
	return s.say(last[:len(last)/2+1])
}

// say writes in pieces of any size, byte for byte at times.
func (s *speaker) say(b []byte) error {
	for len(b) > 0 {
		n := 1 + rand.IntN(64<<10)
		if rand.IntN(16) == 0 {
			n = 1
		}
		n, err := s.out.Write(b[:min(n, len(b))])
		s.stream.Said(b[:n])
		s.bytes += int64(n)
		if b = b[n:]; err != nil {
			return fmt.Errorf("speak: %w", err)
		}
	}
	return nil
}

// flood writes lines "<number> xxx…" of 100 bytes.
func flood(lines string) (Told, error) {
	n, err := strconv.Atoi(lines)
	if err != nil {
		return Told{}, fmt.Errorf("read number of lines: %w", err)
	}
	line := []byte(fmt.Sprintf("%099d\n", 0))
	for i := 10; i < 99; i++ {
		line[i] = 'x'
	}
	appears("go", 50*time.Millisecond)
	for i := range n {
		for at, rest := 9, i+1; at >= 0; at, rest = at-1, rest/10 {
			line[at] = byte('0' + rest%10)
		}
		if _, err := os.Stdout.Write(line); err != nil {
			return Told{}, fmt.Errorf("flood: %w", err)
		}
	}
	return Told{Stdout: numbered.Count{Lines: int64(n), Bytes: int64(n) * 100}}, nil
}
