package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/numbered"
)

// Key names a stream.
type Key struct {
	Dyno   string
	Stream dynodv1.LogStream
}

// Ledger is the accounts of all streams. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	accounts map[Key]*account
	errs     []error       // the first few
	grown    chan struct{} // closed and made anew when something was taken
}

// NewLedger is empty.
func NewLedger() *Ledger { return &Ledger{accounts: map[Key]*account{}, grown: make(chan struct{})} }

// Expect says that a stream will be that of a seed. It must be said before its first line.
func (l *Ledger) Expect(k Key, seed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(k).want = numbered.NewReader(seed)
}

func (l *Ledger) account(k Key) *account {
	if l.accounts[k] == nil {
		l.accounts[k] = &account{}
	}
	return l.accounts[k]
}

// Of is a stream's account and, if its seed is known, the count of what was taken and lost together.
func (l *Ledger) Of(k Key) (Account, numbered.Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(k)
	if a.want == nil {
		return a.Account, numbered.Count{}
	}
	return a.Account, a.want.Count()
}

// Sum is the accounts of all streams together.
func (l *Ledger) Sum() Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum Account
	for _, a := range l.accounts {
		sum.Next += a.Next
		sum.Delivered += a.Delivered
		sum.Lost += a.Lost
		sum.Gaps += a.Gaps
		sum.Lines += a.Lines
		sum.Doubles += a.Doubles
	}
	return sum
}

// Reach waits until a stream is taken so far.
func (l *Ledger) Reach(ctx context.Context, k Key, next int64) error {
	for {
		l.mu.Lock()
		have, grown := l.account(k).Next, l.grown
		l.mu.Unlock()
		if have >= next {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("%v: received %d of %d: %w", k, have, next, ctx.Err())
		}
	}
}

// Errors are the first things that were wrong.
func (l *Ledger) Errors() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs
}

// Take takes the first most lines of a batch and refuses the others. It gives how far the streams of the batch are
// taken, and whether all of it is.
func (l *Ledger) Take(runs []*dynodv1.LogRun, most int) (reached map[Key]int64, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	reached, whole = map[Key]int64{}, true
	for _, r := range runs {
		k := Key{r.GetDynoId(), r.GetStream()}
		a := l.account(k)
		if err := form(r); err != nil {
			l.complain(fmt.Errorf("dyno %s, %s at %d: %w", k.Dyno, k.Stream, r.GetOffset(), err))
		}
		for line := range r.Lines() {
			if most--; most < 0 {
				a.refuse(line)
				whole = false
			} else if taken, err := a.take(line); err != nil {
				l.complain(fmt.Errorf("dyno %s, %s: %w", k.Dyno, k.Stream, err))
			} else if !taken {
				whole = false
			}
		}
		reached[k] = a.Next
	}
	close(l.grown)
	l.grown = make(chan struct{})
	return reached, whole
}

// form checks what cutting a run into lines does not show.
func form(r *dynodv1.LogRun) error {
	at := r.GetLaterAt()
	switch {
	case len(r.GetText()) == 0 && r.GetLostBytes() == 0:
		return errors.New("an empty run")
	case r.GetLostLines() < 0 || r.GetLostLines() > r.GetLostBytes():
		return fmt.Errorf("%d lines lost in %d bytes", r.GetLostLines(), r.GetLostBytes())
	case len(at) != len(r.GetLaterNanos()):
		return fmt.Errorf("%d times at %d places", len(r.GetLaterNanos()), len(at))
	case len(at) > 0 && (at[0] == 0 || int(at[len(at)-1]) >= len(r.GetText())):
		return fmt.Errorf("times at %d to %d in a text of %d bytes", at[0], at[len(at)-1], len(r.GetText()))
	}
	for i := range at {
		if i > 0 && at[i-1] >= at[i] {
			return fmt.Errorf("a time at %d after one at %d", at[i], at[i-1])
		}
	}
	return nil
}

// complain keeps the first few errors. The caller holds mu.
func (l *Ledger) complain(err error) {
	if len(l.errs) < 20 {
		l.errs = append(l.errs, err)
	}
}

// Complain notes something else that was wrong.
func (l *Ledger) Complain(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.complain(err)
}
