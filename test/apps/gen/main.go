// Command gen is the generator of the exactness test and of the log benchmark. It keeps its own count outside its
// streams, in the directory $DIR (default /tmp). Its first argument chooses:
//
//	numbered        lines of package numbered on both streams until $DIR/stop is there; SEED, and SEED+1 on standard
//	                error; RATE bytes a second on each (0: as fast as they are taken, up to LIMIT bytes if that is
//	                set). The last line is unfinished.
//	flood <lines>   waits for $DIR/go, then writes so many lines of 100 bytes to standard output, one a write
//	clock           writes the time, in nanoseconds since 1970, as a line some 40 times a second until SIGTERM
//	hold            writes a line to both streams and then holds their pipes: splice(2) waits for what never comes,
//	                until SIGTERM
//
// Then it writes $DIR/count.json, a Told, and waits for SIGTERM.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/dynod/dynod/test/exact/numbered"
)

// Told is the count of both streams.
type Told struct{ Stdout, Stderr numbered.Count }

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var told Told
	var err error
	switch {
	case len(args) == 1 && args[0] == "numbered":
		told, err = speak()
	case len(args) == 2 && args[0] == "flood":
		told, err = flood(args[1])
	case len(args) == 1 && args[0] == "clock":
		told, err = clock(ctx)
	case len(args) == 1 && args[0] == "hold":
		err = hold(ctx)
	default:
		err = errors.New("usage: gen numbered | flood <lines> | clock | hold")
	}
	if err == nil {
		err = tell(told)
	}
	if err == nil {
		<-ctx.Done()
	}
	return err
}

func inDir(name string) string {
	dir := os.Getenv("DIR")
	if dir == "" {
		dir = "/tmp"
	}
	return filepath.Join(dir, name)
}

// appears returns when the file is there, looking so often: many of these may run on a slow host.
func appears(name string, every time.Duration) {
	for {
		if _, err := os.Stat(inDir(name)); err == nil {
			return
		}
		time.Sleep(every)
	}
}

// tell makes the count appear at once, whole.
func tell(told Told) error {
	data, err := json.Marshal(told)
	if err != nil {
		return err
	}
	if err := os.WriteFile(inDir("count.new"), data, 0o644); err != nil {
		return err
	}
	return os.Rename(inDir("count.new"), inDir("count.json"))
}

func number(name string) (uint64, error) {
	text, set := os.LookupEnv(name)
	if !set {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}
