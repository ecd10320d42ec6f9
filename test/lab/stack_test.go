package lab_test

import (
	"testing"
	"time"

	"github.com/dynod/dynod/test/lab"
)

func TestSmallStackRuns(t *testing.T) {
	l := lab.New(t)
	ctx, task := startContainer(t, l, "small", "/bin/sh", "-c", "test -k /tmp && exec /bin/bash --login -c 'exit 3'")
	exited, err := task.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-exited:
		if code, _, err := status.Result(); code != 3 || err != nil {
			t.Fatalf("status %d, error %v; want 3", code, err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("has not ended")
	}
}

func TestSmallStackIsMadeOnce(t *testing.T) {
	lab.Root(t)
	first, err := lab.SmallStack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := lab.SmallStack(t.Context()); err != nil || again != first {
		t.Fatalf("second time %q, %v; want %q", again, err, first)
	}
}
