package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/root"
)

const (
	// base holds every lab's directory, <base>/<name>, and its lock, <base>/<name>.lock.
	base = "/var/tmp/dynod-lab"
	// maxName keeps socket paths below a lab under the 107 bytes that the kernel allows: a lab's run directory
	// (44), a dyno id (36) and room for two short names.
	maxName = 20
	// closeTimeout is how long a lab may take to end its processes and remove its cgroups.
	closeTimeout = 15 * time.Second
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// Lab is one virtual host. Its methods may be called by several goroutines, Close by one, once they are done.
type Lab struct {
	name string
	dir  string
	lock *os.File // flock, held as long as the lab is open; never inherited by what the lab starts

	mu         sync.Mutex
	containerd *daemon // nil until first asked for
	commands   []*exec.Cmd
}

// Root is root.Needed.
func Root(t testing.TB) {
	t.Helper()
	root.Needed(t)
}

// New opens a lab named after the test. When the test ends the lab is closed, and the test fails if anything of
// the lab could not be removed.
func New(t testing.TB) *Lab {
	t.Helper()
	Root(t)
	name, err := testName(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.containerdTail())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// testName is short, and the same for the same test of the same checkout only: two checkouts may be tested side
// by side.
func testName(test string) (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("name lab: %w", err)
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%s", cwd, test)
	word := strings.TrimPrefix(strings.ToLower(test), "test")
	word = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(word, "")
	if word == "" {
		word = "test"
	}
	return fmt.Sprintf("%s-%08x", word[:min(len(word), maxName-9)], h.Sum32()), nil
}

// Open makes the lab of that name (lower-case letters, digits and hyphens, at most 20 bytes) after sweeping away
// what an interrupted run of the same name left. It refuses a name that a living process holds.
func Open(name string) (*Lab, error) {
	if len(name) > maxName || !validName.MatchString(name) {
		return nil, fmt.Errorf("open lab: bad name %q", name)
	}
	lock, err := takeLock(name)
	if err != nil {
		return nil, fmt.Errorf("open lab %s: %w", name, err)
	}
	l := &Lab{name: name, dir: filepath.Join(base, name), lock: lock}
	if err := errors.Join(l.sweep(), l.build()); err != nil {
		return nil, errors.Join(fmt.Errorf("open lab %s: %w", name, err), l.Close())
	}
	return l, nil
}

// takeLock returns the locked file. The lock ends with the process that holds it, however that ends.
func takeLock(name string) (*os.File, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(base, name+".lock")
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("in use by another process: %w", err), f.Close())
		}
		if isAt(f, path) {
			return f, nil
		}
		_ = f.Close() // removed by its last holder between our two calls
	}
}

func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// unlock removes the lock while it is still held, so that whoever takes the name next makes a lock of its own.
func unlock(f *os.File) error { return errors.Join(os.Remove(f.Name()), f.Close()) }

// build makes the directories, the tmpfs and the namespaces. The directories may be crossed by anyone, because a
// container's mapped root has to reach its root file system, and listed by root only.
func (l *Lab) build() error {
	if err := os.MkdirAll(l.Run(), 0o711); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", l.Run(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711"); err != nil {
		return fmt.Errorf("mount run directory: %w", err)
	}
	return l.buildNetwork()
}

// Close ends every process of the lab by SIGKILL, the containers among them, and removes everything else of it.
// An error names what could not be removed. Closing again does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	commands, c, lock := l.commands, l.containerd, l.lock
	l.commands, l.containerd, l.lock = nil, nil, nil
	l.mu.Unlock()
	if lock == nil {
		return nil
	}
	for _, cmd := range commands {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // already gone is what we want
		}
	}
	err := l.sweep()
	if c != nil {
		<-c.done
	}
	if err != nil {
		return errors.Join(err, lock.Close()) // its file stays, and tells Sweep that there is something to do
	}
	return unlock(lock)
}

// sweep removes whatever exists under the lab's name.
func (l *Lab) sweep() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := errors.Join(thaw(l.CgroupParent()), killAll(ctx, l.mark()))
	removeShimFiles(l.containerdState())
	return errors.Join(err, l.swapOff(), unmountBelow(l.dir), removeCgroups(ctx, l.CgroupParent()), os.RemoveAll(l.dir))
}

// Sweep removes every lab that no living process holds, as left by interrupted runs.
func Sweep() error {
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep labs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if name, isLock := strings.CutSuffix(e.Name(), ".lock"); isLock {
			errs = append(errs, sweepNamed(name))
		}
	}
	return errors.Join(errs...)
}

func sweepNamed(name string) error {
	lock, err := takeLock(name)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil // alive: somebody else's
	}
	if err != nil {
		return fmt.Errorf("sweep lab %s: %w", name, err)
	}
	l := &Lab{name: name, dir: filepath.Join(base, name), lock: lock}
	return l.Close()
}

// Dir is the lab's directory, on disk.
func (l *Lab) Dir() string { return l.dir }

// Run is a tmpfs in the lab's directory, for sockets and secrets.
func (l *Lab) Run() string { return filepath.Join(l.dir, "run") }

// CgroupParent is the cgroup, in every hierarchy, below which the lab's containers belong. Nobody makes it ahead.
func (l *Lab) CgroupParent() string { return "/dynod-lab-" + l.name }
