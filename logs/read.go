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
	Follow  bool      // go on as lines come, until the dyno is finished and drained, or removed
	Tail    int       // how many of the present lines, the last ones; below 0: all
	Since   time.Time // leave out older lines; zero: none
	Streams []Stream  // empty: all
}

// Read gives a dyno's lines out of the spool, delivered or not, merged over its streams by time. It ends after an
// error: an unknown dyno is errdefs.ErrNotFound; ctx's end is its error.
func (l *Logs) Read(ctx context.Context, id string, o ReadOptions) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		r, err := l.newReading(id, o)
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer r.close()
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
	heads []head
}

// head is a stream and its next line, if that was read already.
type head struct {
	src  *source
	line Line
	ok   bool
}

func (l *Logs) newReading(id string, o ReadOptions) (*reading, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if _, err := os.Stat(l.dir(id)); err != nil {
		return nil, fmt.Errorf("read logs of dyno %s: %w", id, errdefs.ErrNotFound)
	}
	r := &reading{Logs: l, ReadOptions: o, id: id}
	for _, s := range spool.Streams {
		if len(o.Streams) > 0 && !slices.Contains(o.Streams, s) {
			continue
		}
		first, clean, err := spool.First(l.dir(id), s)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("read logs: %w", err)
		}
		src := newSource(l.dir(id), Key{id, s}, first)
		src.skip = !clean // what was trimmed took the beginning of this line along
		r.heads = append(r.heads, head{src: src})
	}
	return r, nil
}

// run yields until it is done, and gives an error that was not yielded yet.
func (r *reading) run(ctx context.Context, yield func(Line, error) bool) error {
	for limit := r.Tail >= 0; ; limit = false {
		changed, over := r.watch()
		lines := r.present(ctx)
		if limit {
			lines = tail(lines, r.Tail)
		}
		for line, err := range lines {
			if !yield(line, err) || err != nil {
				return nil
			}
		}
		if !r.Follow || over {
			return nil
		}
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
			h, err := r.oldest()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Line{}, err)
				return
			}
			if h == nil {
				return
			}
			h.ok = false
			if !h.line.Time.Before(r.Since) && !yield(h.line, nil) {
				return
			}
		}
	}
}

// oldest gives the stream whose next line is the oldest, nil if there is no line.
func (r *reading) oldest() (*head, error) {
	var first *head
	for i := range r.heads {
		h := &r.heads[i]
		if !h.ok {
			var err error
			if h.line, h.ok, err = h.src.next(); err != nil {
				return nil, fmt.Errorf("read logs: %w", err)
			}
		}
		if h.ok && (first == nil || h.line.Time.Before(first.line.Time)) {
			first = h
		}
	}
	return first, nil
}

func (r *reading) close() {
	for _, h := range r.heads {
		h.src.close()
	}
}

// tail gives the last n lines of a sequence, and its error.
func tail(lines iter.Seq2[Line, error], n int) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		var last []Line
		for line, err := range lines {
			if err != nil {
				yield(Line{}, err)
				return
			}
			if last = append(last, line); len(last)-n > max(n, 64) {
				last = append(last[:0], last[len(last)-n:]...)
			}
		}
		for _, line := range last[max(0, len(last)-n):] {
			if !yield(line, nil) {
				return
			}
		}
	}
}
