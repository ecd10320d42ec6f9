package slugs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// noteSuffix ends the name of a slug's note, which lies beside it: what is inside is shown to dynos.
const noteSuffix = ".json"

// note is what is known of a slug. Without one, nothing is.
type note struct {
	Boot   string `json:"boot"`            // the boot of the host in which it was unpacked
	Synced bool   `json:"synced"`          // all of it had reached the disk before this was written
	Bytes  int64  `json:"bytes,omitempty"` // on disk; known once it is synced
}

// Info is a slug of the store.
type Info struct {
	SHA256 string
	Bytes  int64 // on disk
}

// List is all slugs.
func (s *Store) List() ([]Info, error) {
	entries, err := os.ReadDir(s.config.Dir)
	if err != nil {
		return nil, fmt.Errorf("list slugs: %w", err)
	}
	var all []Info
	for _, e := range entries {
		if !e.IsDir() || !validSum(e.Name()) {
			continue
		}
		n := s.note(e.Name())
		if n.Bytes == 0 {
			n.Bytes, _ = occupied(s.path(e.Name())) // what is being removed counts for what is left
		}
		all = append(all, Info{SHA256: e.Name(), Bytes: n.Bytes})
	}
	return all, nil
}

// Hide takes a slug out of the store at once and returns its directory, for the caller to delete: that may take long,
// and what an interrupted deletion leaves is swept by the next Open. "" if there is no such slug.
func (s *Store) Hide(sum string) (string, error) {
	place, err := os.MkdirTemp(s.config.Dir, partial)
	if err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = os.Rename(s.path(sum), filepath.Join(place, sum))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", os.Remove(place)
	case err != nil:
		return "", errors.Join(fmt.Errorf("hide slug: %w", err), os.Remove(place))
	}
	if err := os.Remove(s.notePath(sum)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return place, fmt.Errorf("remove note of slug: %w", err)
	}
	return place, nil
}

// Remove deletes a slug. One that is not there is no error.
func (s *Store) Remove(sum string) error {
	place, err := s.Hide(sum)
	if place == "" {
		return err
	}
	return errors.Join(err, os.RemoveAll(place))
}

// settle brings a slug to the disk behind the back of the dyno that waits for it, and notes it then. Until the note is
// there, a slug does not outlive the host's going down.
func (s *Store) settle(sum string) {
	s.settling.Go(func() {
		if err := s.sync(sum); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("slug is not known to be on disk: it will be fetched again if the host goes down", "sha256", sum, "err", err)
		}
	})
}

func (s *Store) sync(sum string) error {
	dir, err := os.Open(s.path(sum))
	if err != nil {
		return err
	}
	defer dir.Close()
	bytes, err := occupied(dir.Name())
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !sameFile(dir, s.path(sum)) {
		return nil // removed, perhaps fetched again
	}
	return s.write(sum, note{Boot: s.config.Boot, Synced: true, Bytes: bytes})
}

func sameFile(f *os.File, path string) bool {
	this, err := f.Stat()
	if err != nil {
		return false
	}
	that, err := os.Stat(path)
	return err == nil && os.SameFile(this, that)
}

// occupied is what the files below a directory take on disk, in bytes.
func occupied(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && !e.IsDir() {
			total += stat.Blocks * 512 / int64(stat.Nlink)
		} else if ok {
			total += stat.Blocks * 512
		}
		return nil
	})
	return total, err
}

func (s *Store) path(sum string) string { return filepath.Join(s.config.Dir, sum) }

func (s *Store) notePath(sum string) string { return filepath.Join(s.config.Dir, sum+noteSuffix) }

// note is empty where there is none that can be read.
func (s *Store) note(sum string) (n note) {
	data, err := os.ReadFile(s.notePath(sum))
	if err == nil && json.Unmarshal(data, &n) != nil {
		return note{}
	}
	return n
}

// write replaces a slug's note. A synced one is on disk when it returns, or the old one is.
func (s *Store) write(sum string, n note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode note: %w", err)
	}
	f, err := os.CreateTemp(s.config.Dir, partial)
	if err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	_, err = f.Write(data)
	if n.Synced && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.notePath(sum))
	}
	if err != nil {
		return fmt.Errorf("write note: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// validSum says whether a name is a digest, as slugs are named.
func validSum(name string) bool {
	sum, err := Sum(name)
	return err == nil && sum == name && !strings.Contains(name, ":")
}
