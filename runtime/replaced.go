package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A shim that is joined can lose its address to another one (decision 23): containerd starts a process of the shim's program
// first, which asks whether anybody listens there. If it is not answered within 100 ms, as on a host that is too busy, it
// removes the socket and becomes a shim of its own. The old one goes on with its dynos, but the next start of containerd
// finds the new one in its place, which does not know them: they count as gone, or are even killed.

const (
	// shimSockets is where containerd keeps the sockets of shims.
	shimSockets = "/run/containerd/s"
	// kept is what a second name of a shim's socket ends in.
	kept = ".dynod"
	// goneLimit and lookAgain are for a shim that ends.
	goneLimit = 5 * time.Second
	lookAgain = 10 * time.Millisecond
)

// errReplaced says that nothing is left of a dyno that another shim than the one to be joined had made.
var errReplaced = errors.New("the shim to be joined was replaced by another one")

// shimSocket is the path of a shim's socket, as containerd derives it.
func (c Config) shimSocket(name string) string {
	sum := sha256.Sum256([]byte(filepath.Join(c.Address, c.Namespace, name)))
	return filepath.Join(shimSockets, hex.EncodeToString(sum[:]))
}

// secure keeps a second name of the socket at which the shim of a dyno was reached that has just been made. If it is not the one
// that was to be joined, that one gets its address back.
func (r *Runtime) secure(ctx context.Context, g *shimGroup, id string) error {
	socket := r.shims.socket(g.name)
	was, err := os.Lstat(socket + kept)
	if errors.Is(err, fs.ErrNotExist) {
		r.keep(socket)
		return nil
	}
	is, err := os.Lstat(socket)
	if err == nil && os.SameFile(is, was) {
		return nil
	}
	if ended(socket + kept) { // with its last dyno, just before
		_ = os.Remove(socket + kept)
		r.keep(socket)
		return nil
	}
	r.log.Warn("a shim was replaced while the host was busy: it gets its address back, and the dyno another shim", "dyno", id)
	return errors.Join(errReplaced, r.putBack(ctx, socket, id))
}

// keep gives a socket its second name. That it cannot is no reason to fail: the name is needed only where a shim is replaced.
func (r *Runtime) keep(socket string) {
	if err := os.Link(socket, socket+kept); err != nil {
		r.unkept.Do(func() {
			r.log.Warn("dynos could be lost when containerd is restarted after a time in which the host was very busy: a shim's socket is not where it should be", "error", err)
		})
	}
}

// ended says whether nobody listens at a socket any more.
func ended(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// putBack ends the shim that has taken the address of another one, with the one dyno that it has, and gives the address back.
func (r *Runtime) putBack(ctx context.Context, socket, id string) error {
	if err := r.group(id).Kill(ctx); err != nil {
		return err
	}
	r.forget(id)
	if err := r.deleteTask(ctx, id); err != nil {
		return err
	}
	for end := time.Now().Add(goneLimit); ; time.Sleep(lookAgain) {
		err := os.Link(socket+kept, socket)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if ended(socket) { // and has left it
			_ = os.Remove(socket)
			continue
		}
		if time.Now().After(end) {
			return fmt.Errorf("give the shim's address back: %w", err)
		}
	}
}
