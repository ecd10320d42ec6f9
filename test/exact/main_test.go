// Package exact_test proves that the way of a log line is exact: what dynos say is what arrives, byte for byte and
// once, or is counted as lost where it is missing, whatever is killed on the way and however badly the control plane
// behaves. A generator in real dynos keeps its own count beside its streams; a plain capture that is killed alike shows
// that the test would see it if bytes went astray.
package exact_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// size is how much a run does.
type size struct {
	kills  int64
	lines  int64         // at least
	steady int           // dynos that must lose nothing
	rate   int64         // bytes a second of each of their streams
	flood  int64         // bytes of each stream of a dyno that says them as fast as they are taken
	spool  int           // of a dyno, MiB
	pause  time.Duration // between two kills at most
	faults int64         // of a hundred batches
	outage time.Duration // of the control plane, in which a dyno that says much must lose something
	limit  time.Duration
}

var full = flag.Bool("full", false, "1,000 kills and 20 million lines instead of some")

func chosen() size {
	if *full {
		return size{
			kills: 1000, lines: 20_000_000, steady: 8, rate: 200_000, flood: 1 << 30,
			spool: 64, pause: time.Second, faults: 2, outage: 60 * time.Second, limit: 40 * time.Minute,
		}
	}
	return size{
		kills: 40, lines: 300_000, steady: 3, rate: 100_000, flood: 64 << 20,
		spool: 16, pause: 2 * time.Second, faults: 5, outage: 12 * time.Second, limit: 150 * time.Second,
	}
}

// TestMain also plays the capture of the control arm: "plain <file>".
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "plain" {
		if err := plain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
