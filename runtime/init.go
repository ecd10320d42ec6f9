package runtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/spec"
)

// initMode lets a dyno execute dyno-init and not read it. The kernel therefore hides its memory and descriptors from the dyno's other
// processes, which have the same user, from its first instruction on; a program could do that for itself only after it. In an
// id-mapped layer the file is the dyno's root's, or the kernel would hide it from the agent as well.
const initMode = 0o711

// installInit copies dyno-init into a layer of its own, which goes on top of those of every dyno, and returns the directory. It is
// named by its content: a dyno keeps the one that it was made with. Older ones go when there are no dynos.
func installInit(c Config, log *slog.Logger) (layer string, err error) {
	program, err := os.ReadFile(c.Init)
	if err != nil {
		return "", fmt.Errorf("read dyno-init: %w", err)
	}
	sum := sha256.Sum256(program)
	all := filepath.Join(c.Dir, "init")
	layer = filepath.Join(all, hex.EncodeToString(sum[:16]))
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	if err := removeOtherInits(c, all, filepath.Base(layer)); err != nil {
		log.Warn("cannot remove an older dyno-init", "error", err)
	}
	if _, err := os.Lstat(layer); !errors.Is(err, fs.ErrNotExist) {
		return layer, err
	}
	if err := writeInit(program, layer); err != nil {
		return "", fmt.Errorf("copy dyno-init: %w", err)
	}
	return layer, nil
}

func removeOtherInits(c Config, all, current string) error {
	dynos, err := os.ReadDir(filepath.Join(c.Dir, "dynos"))
	if err != nil || len(dynos) > 0 {
		return err
	}
	found, err := os.ReadDir(all)
	for _, f := range found {
		if f.Name() != current {
			err = errors.Join(err, os.RemoveAll(filepath.Join(all, f.Name())))
		}
	}
	return err
}

// writeInit makes the layer appear whole, after a power cut too.
func writeInit(program []byte, layer string) error {
	unready := layer + ".new"
	if err := os.RemoveAll(unready); err != nil {
		return err
	}
	if err := os.Mkdir(unready, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(unready, spec.Init), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(bytes.NewReader(program))
	err = errors.Join(err, f.Chmod(initMode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(unready, layer)
}

// sleeps says whether the process is a dyno-init of those that sleep, by the mode of its file.
func (p *process) sleeps() bool {
	info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.pid))
	return err == nil && info.Mode().Perm() == initMode
}

// speaks says whether another process may speak for dyno-init: as itself, or as the assistant that it starts while it sleeps. Of all
// of the dyno's processes only an assistant is in dyno-init's session: commands are started in sessions of their own, and
// nobody can join one.
func (p *process) speaks(pid int) bool {
	if pid == p.pid {
		return true
	}
	other, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := other.Stat()
	if err != nil || stat.PPID != p.pid || stat.Session != p.session() {
		return false
	}
	return sameFile(fmt.Sprintf("/proc/%d/exe", pid), fmt.Sprintf("/proc/%d/exe", p.pid))
}

// session is 0 if it is not known.
func (p *process) session() int {
	id, err := unix.Getsid(p.pid)
	if err != nil {
		return 0
	}
	return id
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
