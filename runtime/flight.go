package runtime

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/transfer"
)

// tellEvery is how often a fetch says how far it is.
const tellEvery = 500 * time.Millisecond

// Progress is how far a fetch is, in bytes. Total is 0 while it is unknown.
type Progress struct{ Fetched, Total int64 }

// flight is a fetch that is under way, for however many wait for it.
type flight struct {
	transfer.Progress
	from string // URL of a slug, which is secret

	done chan struct{} // closed at the end
	err  error         // good then
}

// Fetch makes an artifact present ahead of any dyno, and says how far it is: about twice a second, and once at the end.
// Whoever stops listening does not stop the fetch. Errors are Prepare's, and like Prepare it tries its own URL when that of
// a fetch fails that it has joined.
func (r *Runtime) Fetch(ctx context.Context, a Artifact) iter.Seq2[Progress, error] {
	return func(yield func(Progress, error) bool) {
		n, err := r.need(a)
		if err != nil {
			yield(Progress{}, err)
			return
		}
		ticker := time.NewTicker(tellEvery)
		defer ticker.Stop()
		flights := r.begin(n)
		for rest := flights; len(rest) > 0; {
			select {
			case <-rest[0].done:
				switch err := rest[0].err; {
				case err == nil:
					rest = rest[1:]
				case rest[0].foreign(n):
					flights = r.begin(n)
					rest = flights
				default:
					yield(Progress{}, err)
					return
				}
				continue
			case <-ticker.C:
			case <-ctx.Done():
				yield(Progress{}, fmt.Errorf("wait for artifact: %w", ctx.Err()))
				return
			}
			if !yield(total(flights), nil) {
				return
			}
		}
		yield(total(flights), nil)
	}
}

// Fetched has a token when artifacts have come to this host since it was last read.
func (r *Runtime) Fetched() <-chan struct{} { return r.fetched }

func total(flights []*flight) (p Progress) {
	for _, f := range flights {
		fetched, expected := f.Now()
		p.Fetched, p.Total = p.Fetched+fetched, p.Total+expected
	}
	return p
}

// fetch waits until all that is needed is here. A fetch that somebody else began from another URL may fail for that URL's
// sake: then its own is tried.
func (r *Runtime) fetch(ctx context.Context, n needs) error {
	for {
		failed, err := wait(ctx, r.begin(n))
		if failed == nil || !failed.foreign(n) {
			return err
		}
	}
}

// foreign says whether a flight was begun from another URL than that of n.
func (f *flight) foreign(n needs) bool { return f.from != "" && f.from != n.slug.URL }

// wait returns the first of flights that failed, and why.
func wait(ctx context.Context, flights []*flight) (*flight, error) {
	for _, f := range flights {
		select {
		case <-f.done:
			if f.err != nil {
				return f, f.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for artifact: %w", ctx.Err())
		}
	}
	return nil, nil
}

// begin fetches image and slug side by side. Of images only those join who come with the same credentials: who may not
// have one must not get it because somebody else is just fetching it.
func (r *Runtime) begin(n needs) []*flight {
	key := fmt.Sprintf("image %q %q %q", n.image.Name, n.image.Username, n.image.Password)
	flights := []*flight{r.join(key, "", []string{imageKey(n.name)}, func(ctx context.Context, f *flight) error {
		return r.images.Fetch(ctx, n.image, &f.Progress)
	})}
	if n.slug.SHA256 == "" {
		return flights
	}
	slug := slugKey(n.slug.SHA256)
	return append(flights, r.join(slug, n.slug.URL, []string{slug}, func(ctx context.Context, f *flight) error {
		return r.slugs.Fetch(ctx, n.slug, &f.Progress)
	}))
}

// join runs f unless it runs already under the same key. f ends with the Runtime, with nobody else, and holds what it
// brings until then.
func (r *Runtime) join(key, from string, holds []string, f func(context.Context, *flight) error) *flight {
	r.mu.Lock() // Close waits for what has begun before it, and nothing begins after
	defer r.mu.Unlock()
	if running := r.flights[key]; running != nil {
		return running
	}
	fl := &flight{from: from, done: make(chan struct{})}
	if r.life.Err() != nil {
		fl.err = fmt.Errorf("fetch artifact: the runtime is closed: %w", errdefs.ErrUnavailable)
		close(fl.done)
		return fl
	}
	r.flights[key] = fl
	r.fetches.Go(func() {
		defer r.land(key, fl)
		r.cache.Hold(key, holds...)
		defer r.cache.Release(key)
		ctx, cancel := context.WithTimeoutCause(r.life, fetchTimeout, errSlow)
		defer cancel()
		fl.err = f(ctx, fl)
		if errors.Is(context.Cause(ctx), errSlow) && fl.err != nil {
			fl.err = errors.Join(errSlow, fl.err)
		}
	})
	return fl
}

var errSlow = fmt.Errorf("fetch artifact: it takes more than %s: %w", fetchTimeout, errdefs.ErrUnavailable)

func (r *Runtime) land(key string, f *flight) {
	r.mu.Lock()
	delete(r.flights, key)
	r.mu.Unlock()
	if fetched, _ := f.Now(); fetched > 0 {
		select {
		case r.fetched <- struct{}{}:
		default:
		}
	}
	close(f.done)
}
