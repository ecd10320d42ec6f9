// Package logs carries what dynos say: it has the pipes made by capture, reads the spool that capture fills, cuts lines
// out of it, ships them in batches, remembers what was delivered and trims the rest.
//
// The spool is the truth. Every byte has a position in its stream that never changes, lines are cut the same way
// whenever they are read again, and a killed agent goes on from the last durable cursor: what is sent twice carries
// the same identity (dyno, stream, offset). The package never blocks a dyno, keeps no line in memory beyond one batch,
// and knows nothing of dynos but their ids.
package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// DefaultKeepBytes is how much of what is delivered stays readable, per dyno.
const DefaultKeepBytes = 1 << 20

// Config is what Logs has to know. SpoolDir and Socket are required.
type Config struct {
	SpoolDir   string   // root of the spool, on disk
	Socket     string   // capture's unix socket, on tmpfs
	Capture    []string // argv that starts capture when nobody listens on Socket; empty: never start one
	SpoolBytes int64    // bound per dyno over its streams; 0: capture.DefaultSpoolBytes. The same as capture's
	HostBytes  int64    // bound over all dynos; 0: none. The same as capture's
	KeepBytes  int64    // delivered bytes kept per dyno for Read; 0: DefaultKeepBytes, at most half of SpoolBytes

	ReceiverCA   string        // PEM file of authorities that receivers' certificates may be of, besides the system's
	ReceiverWait time.Duration // how long Shipped waits for receivers besides the upstream; 0: a minute
}

func (c Config) withDefaults() Config {
	if c.SpoolBytes <= 0 {
		c.SpoolBytes = capture.DefaultSpoolBytes
	}
	if c.KeepBytes <= 0 {
		c.KeepBytes = DefaultKeepBytes
	}
	if c.ReceiverWait <= 0 {
		c.ReceiverWait = time.Minute
	}
	c.KeepBytes = min(c.KeepBytes, c.SpoolBytes/2)
	return c
}

// Logs is safe for concurrent use. Its calls that need capture wait for Run to have a connection.
type Logs struct {
	cfg     Config
	sink    Sink
	outlets outlets
	log     *slog.Logger

	wake chan struct{} // there is something in queue
	kick chan struct{} // much was delivered since the cursors were saved

	saved chan struct{} // the cursors were

	said atomic.Bool // platform lines that may not be on disk yet

	stats counters                  // of the upstream
	lag   atomic.Pointer[time.Time] // time of the oldest line that is under way there; nil: none is

	mu     sync.Mutex
	dynos  map[string]*dyno
	turns  turns           // streams with bytes the shipper has not seen
	client *capture.Client // nil: not connected
	turned chan struct{}   // closed when client changes
	child  int             // capture, if this process started it
	gone   past
	life   context.Context // of Run; nil outside of it

	drivers sync.WaitGroup // the drains' goroutines
}

// New finds what is in the spool. A nil sink means that there is no upstream: everything counts as delivered.
func New(ctx context.Context, cfg Config, sink Sink, log *slog.Logger) (*Logs, error) {
	if sink == nil {
		sink = nowhere{}
	}
	outlets, err := newOutlets(cfg.ReceiverCA)
	if err != nil {
		return nil, err
	}
	l := &Logs{
		cfg: cfg.withDefaults(), sink: sink, outlets: outlets, log: log, dynos: map[string]*dyno{}, gone: past{sinks: map[string]SinkStats{}},
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), saved: make(chan struct{}, 1), turned: make(chan struct{}),
	}
	if err := os.MkdirAll(cfg.SpoolDir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	if err := spool.Begin(cfg.SpoolDir); err != nil {
		log.Warn("streams may go on where a power cut took bytes", "error", err)
	}
	l.sweep()
	ids, err := l.List(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.find(id)
	}
	return l, nil
}

// Run keeps the connection to capture, ships, and trims until ctx ends; then it makes the cursors durable and returns
// nil. Dynos and capture go on.
func (l *Logs) Run(ctx context.Context) error {
	l.driveAll(ctx)
	var group errgroup.Group
	for _, part := range []func(context.Context){l.connect, l.ship, l.maintain, l.relieveAll} {
		group.Go(func() error { part(ctx); return nil })
	}
	go l.syncAll(ctx) // nobody waits for it: a busy disk takes its time
	err := group.Wait()
	l.parkAll()
	l.saveAll()
	l.letGo()
	return err
}

// List gives the ids of all dynos that have a spool, ascending.
func (l *Logs) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.cfg.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && spool.ValidID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Backlog is what is not delivered yet.
type Backlog struct {
	Bytes int64 // over all dynos
	Dynos int   // with any of it
}

// Backlog is cheap: it looks at no file. Bytes of an unfinished line count.
func (l *Logs) Backlog() Backlog {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b Backlog
	for _, d := range l.dynos {
		before := b.Bytes
		for _, s := range d.streams {
			b.Bytes += s.backlog()
		}
		if b.Bytes > before {
			b.Dynos++
		}
	}
	return b
}

// Remove deletes a dyno's spool, delivered or not. It may be called again at any time.
func (l *Logs) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if l.captured(id) {
		if err := l.ask(ctx, capture.Message{Kind: capture.Forget, ID: id}, nil, nil); err != nil {
			return fmt.Errorf("remove spool: %w", err)
		}
	}
	l.forget(id)
	dir := l.dir(id)
	gone := filepath.Join(l.cfg.SpoolDir, goingPrefix+id)
	// Renamed first: whoever writes a last file into it by its old name cannot.
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove spool: %w", err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove spool: %w", err)
	}
	return nil
}

// captured tells whether capture has, or ever wrote, anything of a dyno.
func (l *Logs) captured(id string) bool {
	l.mu.Lock()
	d := l.dynos[id]
	held := d != nil && d.held()
	l.mu.Unlock()
	if held {
		return true
	}
	for _, s := range []Stream{Stdout, Stderr} {
		if _, err := os.Lstat(spool.Dir(l.dir(id), s)); err == nil {
			return true
		}
	}
	return false
}

// goingPrefix begins the name of a dyno's directory that is being removed.
const goingPrefix = ".removed-"

// sweep ends removals that were interrupted.
func (l *Logs) sweep() {
	entries, _ := os.ReadDir(l.cfg.SpoolDir)
	for _, e := range entries {
		if id, ok := strings.CutPrefix(e.Name(), goingPrefix); ok && spool.ValidID(id) {
			if err := os.RemoveAll(filepath.Join(l.cfg.SpoolDir, e.Name())); err != nil {
				l.log.Warn("an old spool cannot be removed", "dyno", id, "error", err)
			}
		}
	}
}

func (l *Logs) dir(id string) string { return filepath.Join(l.cfg.SpoolDir, id) }

// each is a snapshot of the known dynos.
func (l *Logs) each() []*dyno {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*dyno, 0, len(l.dynos))
	for _, d := range l.dynos {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *dyno) int { return strings.Compare(a.id, b.id) })
	return all
}
