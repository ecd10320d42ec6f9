package cloud

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"reflect"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// lookEvery is how often notices are looked for. A spot instance has two minutes from its notice.
	lookEvery = 5 * time.Second
	// maxPause is the longest pause while the service does not answer.
	maxPause = time.Minute
	// readEvery is how often the instance is read anew: its public address and tags may change.
	readEvery = 5 * time.Minute
)

// Config says where to look. Only Log is required.
type Config struct {
	Always   bool   // do not ask the firmware first whether this is EC2
	Firmware string // directory of what the firmware says; default: the kernel's
	Dial     Dialer // default: the host's own way
	Log      *slog.Logger
}

// EC2 is the provider of this host, if it is one.
type EC2 struct {
	cfg      Config
	metadata metadata
	read     time.Time // when the instance was
	failing  bool      // which is logged once
}

// New does nothing before Watch.
func New(cfg Config) *EC2 {
	cfg.Firmware = cmp.Or(cfg.Firmware, firmware)
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	return &EC2{cfg: cfg, metadata: newMetadata(cfg.Dial)}
}

// Watch yields what EC2 says whenever that has changed, until ctx ends, and nothing at all where the firmware is not
// EC2's. A service that does not answer is asked again after growing pauses; what it said last stands meanwhile. One
// caller.
func (e *EC2) Watch(ctx context.Context) iter.Seq[State] {
	return func(yield func(State) bool) {
		if !e.cfg.Always && !onEC2(e.cfg.Firmware) {
			return
		}
		defer func() { e.metadata.http.CloseIdleConnections() }()
		pauses := backoff.NewExponentialBackOff()
		pauses.InitialInterval, pauses.Multiplier, pauses.MaxInterval = lookEvery, 2, maxPause
		for last := (State{}); ; {
			next, away, err := e.look(ctx, last)
			if ctx.Err() != nil || !reflect.DeepEqual(next, last) && !yield(next) {
				return
			}
			e.tell(err)
			last = next
			pause := lookEvery
			if away {
				pause = pauses.NextBackOff()
				e.metadata.http.CloseIdleConnections()
				e.metadata = newMetadata(e.cfg.Dial) // what it remembers may be the reason: a token that is none
			} else {
				pauses.Reset()
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// look asks for everything once. What cannot be read stands as it was. away: the service answers nothing.
func (e *EC2) look(ctx context.Context, last State) (next State, away bool, err error) {
	notices, errs := e.metadata.notices(ctx, last.Notices)
	next = State{last.Instance, notices}
	away = len(errs) == len(sources)
	if !away && time.Since(e.read) >= readEvery {
		i, err := e.metadata.instance(ctx)
		if err == nil {
			e.read = time.Now()
		}
		if err == nil || last.Instance.ID == "" {
			next.Instance = i
		}
		errs = append(errs, err)
	}
	return next, away, errors.Join(errs...)
}

func (e *EC2) tell(err error) {
	switch {
	case err != nil && !e.failing:
		e.cfg.Log.Warn("instance metadata cannot be read", "err", err)
	case err == nil && e.failing:
		e.cfg.Log.Info("instance metadata can be read again")
	}
	e.failing = err != nil
}
