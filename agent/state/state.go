// Package state keeps what must survive a restart of the agent: one JSON file a dyno on disk, which an operator can
// read, and beside it on tmpfs the secret part of the order. A record is durable when Save returns. One that Note has
// written is on tmpfs, newer than that on disk, and gone when the host goes down. The package never repairs or removes a file
// that it cannot read, unless it is blank: then its order was never accepted.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/agent/dyno"
)

// version of the files that this agent writes. A file of a newer one is left alone.
const version = 1

// Store is a pair of directories. Calls for one id must not overlap; its runner sees to that.
type Store struct {
	records, secrets string
	names            *syncs // of records
}

// Open makes the directories (0700) where they are missing. The secrets' one must lie on tmpfs: elsewhere it is an error.
func Open(records, secrets string) (*Store, error) {
	for _, dir := range []string{records, secrets} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(secrets, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", secrets, err)
	}
	if st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
		return nil, fmt.Errorf("%s is not on tmpfs: configuration values would reach a disk", secrets)
	}
	s := &Store{records: records, secrets: secrets, names: newSyncs(func() error { return syncDir(records) })}
	return s, s.sweep()
}

// sweep removes what a write that was killed half-way has left, and what Remove has left of a dyno whose record is gone.
// renameio's files begin with a dot.
func (s *Store) sweep() error {
	partial, err := filepath.Glob(filepath.Join(s.records, ".*"))
	for _, name := range partial {
		err = errors.Join(err, os.Remove(name))
	}
	beside, failed := filepath.Glob(filepath.Join(s.secrets, "*.*"))
	err = errors.Join(err, failed)
	for _, name := range beside {
		id, _, _ := strings.Cut(filepath.Base(name), ".")
		if _, lost := os.Lstat(s.record(id)); errors.Is(lost, fs.ErrNotExist) {
			err = errors.Join(err, os.Remove(name))
		}
	}
	if err != nil {
		return fmt.Errorf("sweep records: %w", err)
	}
	return nil
}

// file is the form of a record on disk.
type file struct {
	Version int `json:"version"`
	dyno.Record
}

// Add writes a new record with its secret part, the secret first: a record without one is a dyno of an earlier boot. After an
// error nothing is there; or a record, if one of an earlier generation was: its owner adds that again, for the note of it is gone.
func (s *Store) Add(r dyno.Record) error {
	if err := s.addSecret(r); err != nil {
		return err
	}
	if err := os.Remove(s.noted(r.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove note of an earlier generation: %w", err)
	}
	if _, err := os.Lstat(s.record(r.ID)); err == nil {
		return s.Save(r)
	}
	if err := s.create(r); err != nil {
		return errors.Join(err, s.Remove(r.ID))
	}
	return nil
}

// addSecret writes the secret part, or removes that of another generation where this one's went with a boot.
func (s *Store) addSecret(r dyno.Record) error {
	if r.Spec.Secret.Gone {
		if err := os.Remove(s.secret(r.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove secret: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(r.Spec.Secret)
	if err != nil {
		return fmt.Errorf("encode secret: %w", err)
	}
	if err := os.WriteFile(s.secret(r.ID), data, 0o600); err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	return nil
}

// create is Save where there is no record, with one sync instead of two: it takes a new file's name along (decision 29).
func (s *Store) create(r dyno.Record) (err error) {
	data, err := encode(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.records, ".")
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("write record: %w", err)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), s.record(r.ID)); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return f.Sync()
}

// Save writes a record, whole or not at all; it is on the disk when Save returns.
func (s *Store) Save(r dyno.Record) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(s.record(r.ID), data, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return s.names.do()
}

// Note writes a record that an earlier Save or Add must have put on the disk, for later processes of this boot.
func (s *Store) Note(r dyno.Record) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	partial := s.noted(r.ID) + ".partial"
	if err := os.WriteFile(partial, data, 0o600); err != nil {
		return fmt.Errorf("note record: %w", err)
	}
	if err := os.Rename(partial, s.noted(r.ID)); err != nil {
		return fmt.Errorf("note record: %w", err)
	}
	return nil
}

func encode(r dyno.Record) ([]byte, error) {
	data, err := json.MarshalIndent(file{version, r}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return append(data, '\n'), nil
}

// Remove forgets a dyno. Nil when nothing is there.
func (s *Store) Remove(id string) error {
	var errs []error
	for _, path := range []string{s.record(id), s.noted(id), s.secret(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove state: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Entry is one record as Load finds it.
type Entry struct {
	ID     string
	Record dyno.Record
	Secret bool  // the secret part is there and in Record
	Err    error // the record cannot be read: damaged, or of a newer version
}

// Load reads every record.
func (s *Store) Load() ([]Entry, error) {
	names, err := filepath.Glob(filepath.Join(s.records, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	entries := make([]Entry, len(names))
	var reads errgroup.Group
	reads.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		reads.Go(func() error {
			entries[i] = s.load(strings.TrimSuffix(filepath.Base(name), ".json"))
			return nil
		})
	}
	err = reads.Wait()
	return slices.DeleteFunc(entries, func(e Entry) bool { return errors.Is(e.Err, errBlank) }), err
}

func (s *Store) load(id string) Entry {
	e := Entry{ID: id}
	if e.Record, e.Err = read(s.record(id), id); errors.Is(e.Err, errBlank) {
		if err := s.Remove(id); err != nil {
			e.Err = err
		}
	}
	if e.Err != nil {
		return e
	}
	if noted, err := read(s.noted(id), id); err == nil && noted.Revision > e.Record.Revision {
		e.Record = noted
	}
	if data, err := os.ReadFile(s.secret(id)); err == nil {
		e.Secret = json.Unmarshal(data, &e.Record.Spec.Secret) == nil
	}
	e.Record.Spec.Secret.Gone = !e.Secret
	return e
}

// errBlank is a record whose name alone was on the disk when the host went down, so its order was not accepted.
var errBlank = errors.New("blank record")

func read(path, id string) (dyno.Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return dyno.Record{}, err
	}
	var f file
	switch err := json.Unmarshal(data, &f); {
	case len(bytes.Trim(data, "\x00")) == 0:
		return f.Record, errBlank
	case err != nil:
		return f.Record, fmt.Errorf("damaged record: %w", err)
	case f.Version > version:
		return f.Record, fmt.Errorf("record of version %d, this agent knows %d", f.Version, version)
	case f.ID != id || f.Phase == "" || dyno.ValidateHeader(f.ID, f.Generation) != nil:
		return f.Record, errors.New("damaged record: fields are missing")
	}
	return f.Record, nil
}

func (s *Store) record(id string) string { return filepath.Join(s.records, id+".json") }
func (s *Store) secret(id string) string { return filepath.Join(s.secrets, id+".json") }
func (s *Store) noted(id string) string  { return filepath.Join(s.secrets, id+".record") }

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
