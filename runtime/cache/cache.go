// Package cache keeps who holds which artifact of a host, and when each was last used. It knows names only and
// removes nothing itself: what is to be removed goes through Remove, which lets nobody take it meanwhile.
//
// Holds are in memory; whoever opens a Cache takes again those that outlived a process. Times of use are on disk.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Cache may be used by any goroutine.
type Cache struct {
	dir string // one file for each key; its time of change is that of the last use

	mu      sync.Mutex
	holders map[string]map[string]bool // keys by holder; nil: every key
}

// Open keeps times of use in dir, which it makes.
func Open(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of uses: %w", err)
	}
	return &Cache{dir: dir, holders: map[string]map[string]bool{}}, nil
}

// Hold keeps what the keys name from being removed until the holder releases it. Keys add to those held already.
func (c *Cache) Hold(holder string, keys ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, known := c.holders[holder]
	if known && held == nil {
		return
	}
	if !known {
		held = map[string]bool{}
		c.holders[holder] = held
	}
	for _, key := range keys {
		held[key] = true
		c.touch(key)
	}
}

// HoldAll keeps everything: for a holder of whom it is not known what he uses.
func (c *Cache) HoldAll(holder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders[holder] = nil
}

// Release ends the holds of a holder. No hold is no error.
func (c *Cache) Release(holder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.holders[holder] {
		c.touch(key)
	}
	delete(c.holders, holder)
}

// Holders are those who hold a key, sorted.
func (c *Cache) Holders(key string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holding(key)
}

func (c *Cache) holding(key string) []string {
	var names []string
	for _, holder := range slices.Sorted(maps.Keys(c.holders)) {
		if held := c.holders[holder]; held == nil || held[key] {
			names = append(names, holder)
		}
	}
	return names
}

// Remove calls remove if nobody holds any of the keys, and lets nobody take one before it returns: it must be short.
// FailedPrecondition: one is held.
func (c *Cache) Remove(remove func() error, keys ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if names := c.holding(key); len(names) > 0 { // which may hold a fetch's password
			return fmt.Errorf("remove %s: %w: it has %d holders", key, errdefs.ErrFailedPrecondition, len(names))
		}
	}
	if err := remove(); err != nil {
		return err
	}
	for _, key := range keys {
		_ = os.Remove(c.file(key)) // what stays says nothing about anything
	}
	return nil
}

// Used is when a key was last held. Of one that nobody knows anything about it is now, from now on.
func (c *Cache) Used(key string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.file(key))
	if err != nil || len(c.holding(key)) > 0 {
		c.touch(key)
		return time.Now()
	}
	return info.ModTime()
}

// touch notes a use. One that cannot be written, on a full disk, makes an artifact look older than it is: no more.
func (c *Cache) touch(key string) {
	now := time.Now()
	if err := os.Chtimes(c.file(key), now, now); errors.Is(err, os.ErrNotExist) {
		_ = os.WriteFile(c.file(key), nil, 0o600)
	}
}

func (c *Cache) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:]))
}
