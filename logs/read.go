package logs

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/spool"
)

// ReadOptions choose among the lines that are still there.
type ReadOptions struct {
	Follow  bool             // go on as lines come, until the dyno is finished and drained, or removed
	Tail    int              // how many of the present lines, the last ones; below 0: all
	Since   time.Time        // leave out older lines; zero: none
	Streams []Stream         // empty: all
	From    map[Stream]int64 // where lines end that are known already, for streams of which any are; no Since for these
}

// Read gives a dyno's lines out of the spool, delivered or not, merged over its streams by time. It begins near the
// first of them, however much lies before. It ends after an error: an unknown dyno is errdefs.ErrNotFound; ctx's end
// is its error.
func (l *Logs) Read(ctx context.Context, id string, o ReadOptions) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		r := &reading{Logs: l, ReadOptions: o, id: id}
		defer func() { r.lines.close() }()
		if err := r.begin(ctx); err != nil {
			yield(Line{}, err)
			return
		}
		if err := r.run(ctx, yield); err != nil {
			yield(Line{}, err)
		}
	}
}

// reading is one Read in progress.
type reading struct {
	*Logs
	ReadOptions
	id    string
	lines merger
	over  int // lines to leave out at first: more than Tail
}

// begin finds where to start. The last lines of all streams together are found by counting once.
func (r *reading) begin(ctx context.Context) error {
	if err := checkID(r.id); err != nil {
		return err
	}
	if _, err := os.Stat(r.dir(r.id)); err != nil {
		return fmt.Errorf("read logs of dyno %s: %w", r.id, errdefs.ErrNotFound)
	}
	if err := r.open(); err != nil || r.Tail < 0 {
		return err
	}
	there := 0
	for _, err := range r.present(ctx) {
		if err != nil {
			return err
		}
		there++
	}
	r.lines.close()
	r.over = max(0, there-r.Tail)
	return r.open()
}

func (r *reading) open() error {
	for _, s := range spool.Streams {
		if len(r.Streams) > 0 && !slices.Contains(r.Streams, s) {
			continue
		}
		offset, clean, err := r.start(s)
		if err != nil {
			return fmt.Errorf("read logs: %w", err)
		}
		src := newSource(r.dir(r.id), Key{r.id, s}, offset)
		src.midway = !clean // the beginning of this line is left out, or gone
		r.lines.add(src)
	}
	return nil
}

// start is the position from which a stream has every line that is asked for, and whether a line begins there.
func (r *reading) start(s Stream) (offset int64, clean bool, err error) {
	if at, known := r.From[s]; known {
		return at, true, nil
	}
	dir := r.dir(r.id)
	if offset, clean, err = spool.First(dir, s); err != nil {
		return 0, false, err
	}
	later := func(o int64, c bool, e error) {
		if err = e; err == nil && o > offset {
			offset, clean = o, c
		}
	}
	if !r.Since.IsZero() {
		later(spool.Since(dir, s, r.Since))
	}
	if r.Tail >= 0 && err == nil {
		later(spool.LastLines(dir, s, r.Tail))
	}
	return offset, clean, err
}

// run yields until it is done, and gives an error that was not yielded yet.
func (r *reading) run(ctx context.Context, yield func(Line, error) bool) error {
	for {
		changed, over := r.watch()
		for line, err := range r.present(ctx) {
			if r.over > 0 && err == nil {
				r.over--
				continue
			}
			if !yield(line, err) || err != nil {
				return nil
			}
		}
		if !r.Follow || over {
			return nil
		}
		r.over = 0
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch gives a channel that is closed at the next change, and whether no more lines will come: all that are there
// now are the last ones.
func (r *reading) watch() (<-chan struct{}, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dynos[r.id]
	if d == nil {
		return nil, true
	}
	return d.changed, d.finished && !d.held() && r.client != nil
}

// present gives the lines that are there now.
func (r *reading) present(ctx context.Context) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for {
			h, err := r.lines.peek()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Line{}, fmt.Errorf("read logs: %w", err))
				return
			}
			if h == nil {
				return
			}
			if line := h.pop(); r.wants(line) && !yield(line, nil) {
				return
			}
		}
	}
}

func (r *reading) wants(line Line) bool {
	_, known := r.From[line.Stream]
	return known || !line.Time.Before(r.Since)
}
