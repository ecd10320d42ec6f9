// Package capture is the log holder: it makes the pipes that dynos write to and moves what comes out of them into the
// spool. It is a process of its own, so that the agent can go away and come back while every byte is kept, and it does
// so little that it hardly ever has a reason to be restarted itself.
//
// It never blocks a dyno: what does not fit into the dyno's part of the spool, comes faster than the dyno may speak, or
// finds a disk that is full or gone, is taken away and counted. It never looks at the bytes, except for the newlines in
// those it throws away, never cuts lines and never talks to anybody but the one agent on its unix socket and, about
// descriptors, the service manager.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// DefaultSpoolBytes bounds the spool of one dyno over its streams.
const DefaultSpoolBytes = 64 << 20

// Config is what capture has to know. Socket and SpoolDir are required.
type Config struct {
	Socket       string // path of the unix socket on which the agent asks; on tmpfs
	SpoolDir     string // root of the spool
	SpoolBytes   int64  // bound per dyno over its streams; 0: DefaultSpoolBytes
	SegmentBytes int64  // size of a spool file; 0: what spool.SegmentBytes says
	HostBytes    int64  // bound over all dynos; 0: none
	ReserveBytes int64  // of the spool's disk, left free; 0: none
	IngestBytes  int64  // bound per dyno over its streams and a second, with bursts; 0: none

	NotifySocket string // of the service manager, whose fd store keeps the pipes; empty: none
	Kept         []Kept // what it kept of a capture before; Run owns the descriptors
}

func (c Config) withDefaults() Config {
	if c.SpoolBytes <= 0 {
		c.SpoolBytes = DefaultSpoolBytes
	}
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = spool.SegmentBytes(c.SpoolBytes)
	}
	return c
}

// Run serves until ctx ends, then returns nil; what is in the pipes stays there for the next capture. A listener (of
// packets, from socket activation) is used if given, otherwise the socket is made; Run does not close the listener.
// Another capture with the same socket is errdefs.ErrAlreadyExists; for one that was killed and is not gone yet the spool
// waits, the dynos do not.
func Run(ctx context.Context, cfg Config, listener *net.UnixListener, log *slog.Logger) error {
	cfg = cfg.withDefaults()
	lock, err := takeLock(filepath.Dir(cfg.Socket))
	if err != nil {
		return err
	}
	fd, err := listenFD(cfg, listener)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for agent: %w", err), lock.file.Close())
	}
	log, ended := newRecorder(log)
	defer ended()
	s, err := newServer(cfg, fd, lock, log)
	if err != nil {
		return errors.Join(err, lock.file.Close())
	}
	defer s.close()
	s.adopt(cfg.Kept)
	s.settle()
	pidFile := PidFile(cfg.Socket)
	if err := notePid(pidFile); err != nil {
		log.Warn("the process id is not noted", "error", err)
	}
	defer os.Remove(pidFile)
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() { s.host.run(ctx) })
	go s.host.syncAll(ctx) // nobody waits for it: a busy disk takes its time
	defer func() {
		cancel()
		watched := make(chan struct{})
		go func() { watchers.Wait(); close(watched) }()
		within(lastPatience, watched)
	}()
	return s.run(ctx)
}

// PidFile is where the capture that serves a socket notes its process id.
func PidFile(socket string) string { return filepath.Join(filepath.Dir(socket), "capture.pid") }

// notePid replaces the file at once: whoever reads it finds a whole number.
func notePid(path string) error {
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// listenFD gives a non-blocking listening socket.
func listenFD(cfg Config, listener *net.UnixListener) (int, error) {
	if listener == nil {
		return listen(cfg.Socket)
	}
	f, err := listener.File()
	if err != nil {
		return -1, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetNonblock(fd, true)
}

// unfinished ends the name of a socket that is being made. The kernel goes on calling it so.
const unfinished = ".new"

// listen makes the socket under another name first: under its own it is complete, closed to others and answering.
func listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	made := path + unfinished
	_ = os.Remove(made)
	for _, step := range []func() error{
		func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: made}) },
		func() error { return os.Chmod(made, 0o600) },
		func() error { return unix.Listen(fd, 8) },
		func() error { return os.Rename(made, path) },
	} {
		if err := step(); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
	}
	return fd, nil
}
