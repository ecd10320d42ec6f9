package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// repository is the directory of the checkout, found from the working directory upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("find repository: no go.mod above the working directory")
}

// Cached returns <repository>/build/cache/<name>, made by build the first time. Of several who ask for the same at
// once, also from other processes, one builds and the others wait. What build leaves unfinished is never seen.
func Cached(name string, build func(path string) error) (string, error) {
	repo, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(repo, "build", "cache", name)
	unlock, err := lockCache(path)
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", path, err)
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	partial := path + ".partial"
	defer os.RemoveAll(partial)
	if err := errors.Join(os.RemoveAll(partial), build(partial)); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, os.Rename(partial, path)
}

// lockCache waits until nobody else makes what lies at path.
func lockCache(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
