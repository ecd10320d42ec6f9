package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// peer is the process at the other end, as the kernel knows it; 0 if it does not.
func peer(conn *net.UnixConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(c.Pid)
		}
	})
	return pid
}

// listen puts a socket into dir that only owner can connect to. It appears under its name when it is complete, in
// the place of one that an earlier process left. Its path goes through a descriptor, since a socket's path may have
// 107 bytes only.
func listen(dir string, owner int) (*listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open launch directory: %w", err)
	}
	defer d.Close()
	name, unready := filepath.Join(dir, launch.Socket), filepath.Join(dir, "unready")
	if err := os.Remove(unready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), "unready")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for dyno-init: %w", err)
	}
	l.SetUnlinkOnClose(false) // the name is another one by then
	err = errors.Join(os.Chmod(unready, 0o600), os.Chown(unready, owner, owner), os.Rename(unready, name))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("place socket: %w", err), l.Close())
	}
	listening := &listener{UnixListener: l}
	listening.close = sync.OnceFunc(func() {
		_ = os.Remove(name) // gone already with the dyno
		_ = l.Close()
	})
	return listening, nil
}

// listener is one whose close removes the socket, once: it returns when that is done, whoever does it, so that it
// never removes a later one.
type listener struct {
	*net.UnixListener
	close func()
}
