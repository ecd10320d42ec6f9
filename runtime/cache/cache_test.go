package cache_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/runtime/cache"
)

func open(t *testing.T, dir string) *cache.Cache {
	t.Helper()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHeldIsNotRemoved(t *testing.T) {
	c := open(t, t.TempDir())
	removed := 0
	remove := func(keys ...string) error { return c.Remove(func() error { removed++; return nil }, keys...) }
	c.Hold("one", "slug", "stack")
	c.Hold("two", "slug")
	c.Hold("one", "layers")
	if diff := cmp.Diff([]string{"one", "two"}, c.Holders("slug")); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	for _, key := range []string{"slug", "stack", "layers"} {
		if err := remove("free", key); !errdefs.IsFailedPrecondition(err) || strings.Contains(err.Error(), "one") {
			t.Errorf("remove %s: %v", key, err)
		}
	}
	c.Release("one")
	if err := remove("slug"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("still held: %v", err)
	}
	c.Release("two")
	c.Release("never came")
	if err := errors.Join(remove("slug"), remove("stack", "layers")); err != nil || removed != 2 {
		t.Errorf("removed %d: %v", removed, err)
	}
	failed := errors.New("disk")
	if err := c.Remove(func() error { return failed }, "slug"); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

func TestWhoMayUseAnythingHoldsAll(t *testing.T) {
	c := open(t, t.TempDir())
	c.HoldAll("old")
	c.Hold("old", "one")
	if err := c.Remove(func() error { return nil }, "another"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got %v", err)
	}
	c.Release("old")
	if err := c.Remove(func() error { return nil }, "another"); err != nil {
		t.Error(err)
	}
}

func TestNobodyTakesWhatIsBeingRemoved(t *testing.T) {
	c := open(t, t.TempDir())
	held := make(chan struct{})
	err := c.Remove(func() error {
		go func() { c.Hold("late", "slug"); close(held) }()
		select {
		case <-held:
			t.Error("held in the middle of a removal")
		case <-time.After(20 * time.Millisecond):
		}
		return nil
	}, "slug")
	<-held
	if err != nil {
		t.Error(err)
	}
}

func TestUseOutlivesAProcess(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	c.Hold("one", "slug")
	c.Release("one")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	before := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(files[0], before, before); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir)
	if got := c.Used("slug"); !got.Equal(before) {
		t.Errorf("used %s, not %s", got, before)
	}
	c.Hold("two", "slug")
	if got := c.Used("slug"); time.Since(got) > time.Minute {
		t.Errorf("in use, and used %s", got)
	}
	unknown := c.Used("unknown")
	if time.Since(unknown) > time.Minute || open(t, dir).Used("unknown").Sub(unknown).Abs() > time.Second {
		t.Errorf("what nobody knew was used %s", unknown)
	}
}
