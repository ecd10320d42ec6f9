package capture_test

import (
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
)

// TestManagerThatDoesNotRead: what waits for it is bounded, and it hears in the end what is there and nothing else.
func TestManagerThatDoesNotRead(t *testing.T) {
	m := newManager(t)
	s := start(t, capture.Config{NotifySocket: m.socket})
	c, _ := s.dial()
	last := uuid.NewString()
	for i := range 200 { // more than its socket takes
		id := uuid.NewString()
		if i == 199 {
			id = last
		}
		out, errs := begin(t, c, id)
		if id == last {
			defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
			break
		}
		_, _ = unix.Close(out), unix.Close(errs)
		over(t, c, id)
	}
	waitFor(t, "all descriptors of the last dyno and no others", func() bool {
		kept := m.stored()
		_, out := kept[last+".out"]
		_, stage := kept[last+".err+"]
		return len(kept) == 4 && out && stage
	})
}

func TestWhatWaitsForTheManagerIsBounded(t *testing.T) {
	m := newManager(t) // which reads nothing
	waiting, err := capture.Waiting(10_000, m.socket, uuid.NewString)
	if err != nil || waiting > 2000 {
		t.Errorf("%d notices wait, %v", waiting, err)
	}
}
