package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// A cordon outlives the agent as a file with its reason.
func (s *Store) cordon() string { return filepath.Join(s.records, "cordon") }

// SetCordon remembers a cordon.
func (s *Store) SetCordon(reason string) error {
	if err := renameio.WriteFile(s.cordon(), []byte(reason), 0o600); err != nil {
		return fmt.Errorf("write cordon: %w", err)
	}
	return syncDir(s.records)
}

// ClearCordon forgets it. Nil when there is none.
func (s *Store) ClearCordon() error {
	if err := os.Remove(s.cordon()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cordon: %w", err)
	}
	return syncDir(s.records)
}

// Cordon is the remembered cordon, if there is one.
func (s *Store) Cordon() (reason string, cordoned bool, err error) {
	data, err := os.ReadFile(s.cordon())
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return string(data), err == nil, err
}
