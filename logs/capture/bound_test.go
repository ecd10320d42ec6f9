package capture_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// longest is how long a dyno may be held up on a machine that is busy with other tests as well: one that is blocked is
// so for good.
const longest = 2 * time.Second

// flooding is a dyno that writes as fast as it can.
type flooding struct {
	*talker
	id   string
	errs int
}

func flood(t testing.TB, c *capture.Client) *flooding { return floodBy(t, c, talk) }

// floodBy has somebody write to the dyno's standard output.
func floodBy(t testing.TB, c *capture.Client, talk func(testing.TB, int) *talker) *flooding {
	f := &flooding{id: uuid.NewString()}
	out, errs := begin(t, c, f.id)
	f.talker, f.errs = talk(t, out), errs
	return f
}

// over ends the dyno and compares what is in the spool with what it wrote.
func (f *flooding) over(t testing.TB, c *capture.Client, cfg capture.Config) stream {
	t.Helper()
	f.end()
	_ = unix.Close(f.errs)
	over(t, c, f.id)
	got := readStream(t, cfg.SpoolDir, f.id, spool.Stdout)
	f.check(t, got)
	f.wasFree(t)
	return got
}

// wasFree fails the test if the dyno could not write for too long.
func (f *flooding) wasFree(t testing.TB) {
	t.Helper()
	if held := time.Duration(f.longest.Load()); held > longest {
		t.Errorf("a dyno was held up for %v", held)
	}
}

func TestIngestBound(t *testing.T) {
	const rate = 100_000
	cfg := configured(t, func(c *capture.Config) { c.IngestBytes = rate })
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	began := time.Now()
	f := flood(t, c)
	f.reach(t, 20<<20)
	got := f.over(t, c, cfg)
	most := 4*rate + int64(rate*time.Since(began).Seconds())
	if kept := int64(len(got.data)); kept < 4*rate || kept > most || got.lost == 0 {
		t.Errorf("kept %d bytes at %d a second in %v, lost %d", kept, rate, time.Since(began), got.lost)
	}
	if l, err := spool.List(spool.Dir(filepath.Join(cfg.SpoolDir, f.id), spool.Stdout)); err != nil || len(l.Losses) > 10 {
		t.Errorf("one hole is to be made where there are %d, %v", len(l.Losses), err)
	}
}

// TestHostBound lets dynos fill the spool of the host. Each of them loses something, the bound holds, and a dyno that
// comes last keeps its line.
func TestHostBound(t *testing.T) {
	const bound = 4 << 20
	cfg := configured(t, func(c *capture.Config) { c.SpoolBytes, c.HostBytes, c.SegmentBytes = 2<<20, bound, 16<<10 })
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	var floods []*flooding
	for range 4 {
		floods = append(floods, flood(t, c))
	}
	for _, f := range floods {
		f.reach(t, 3<<20)
	}
	quiet := uuid.NewString()
	out, errs := begin(t, c, quiet)
	if _, err := unix.Write(out, []byte("quiet\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Close(out), unix.Close(errs)
	over(t, c, quiet)
	if got := readStream(t, cfg.SpoolDir, quiet, spool.Stdout); string(got.data) != "quiet\n" {
		t.Errorf("the quiet dyno keeps %q", got.data)
	}
	var used int64
	for _, f := range floods {
		if got := f.over(t, c, cfg); got.lost == 0 {
			t.Error("nothing was lost")
		}
		n, err := spool.Usage(filepath.Join(cfg.SpoolDir, f.id))
		if err != nil {
			t.Fatal(err)
		}
		used += n
	}
	if used < bound/2 || used > bound+bound/8 {
		t.Errorf("%d bytes are used of %d", used, bound)
	}
}

// TestBoundIsLifted removes what was delivered, as the agent does: the dyno's output is kept again.
func TestBoundIsLifted(t *testing.T) {
	cfg := configured(t, func(c *capture.Config) { c.SpoolBytes = 1 << 20 })
	p := spawn(t, cfg, nil)
	c, changes := p.dial()
	f := flood(t, c)
	f.reach(t, 4<<20)
	cursor := spool.Cursor{}
	r := spool.NewReader(spool.Dir(filepath.Join(cfg.SpoolDir, f.id), spool.Stdout), 0)
	defer r.Close()
	var kept, lost int64
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(20 * time.Second); lost == 0 || kept < 4<<20; {
		if time.Now().After(deadline) {
			t.Fatalf("kept %d and lost %d", kept, lost)
		}
		select {
		case <-changes:
		default:
		}
		piece, err := r.Next(buf)
		if err != nil {
			continue
		}
		kept, lost = kept+int64(len(piece.Data)), lost+piece.Lost
		cursor[spool.Stdout] = kept + lost
		if err := spool.Trim(filepath.Join(cfg.SpoolDir, f.id), cursor, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.end()
	_ = unix.Close(f.errs)
	t.Logf("kept %d and lost %d of %d", kept, lost, f.bytes.Load())
}
