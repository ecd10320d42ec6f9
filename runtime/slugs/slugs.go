// Package slugs keeps the slugs of a host unpacked, one directory each, named by the digest of the compressed
// file. A slug is a tar, compressed by gzip or zstd, of which only what lies below ./app counts.
//
// Nothing of a slug is trusted before its digest is right, and nothing that is in one can reach outside its
// directory: links and names are resolved below it, devices and privileges are left out. A directory under its
// final name is whole; what an interrupted fetch or removal leaves is swept by the next Open. So is a slug of which it
// is not sure that all of it had reached the disk when the host went down.
package slugs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/dynod/dynod/runtime/transfer"
)

// partial begins the name of a directory that is being filled.
const partial = "partial-"

// Config is where slugs go and what is accepted.
type Config struct {
	Dir              string        // on disk; made if missing
	MaxBytes         int64         // of the compressed file
	MaxUnpackedBytes int64         // of the files in it together
	Owner            int           // uid and gid of every file, as the layers are numbered on disk
	AllowHTTP        bool          // accept http:// as well as https://
	Boot             string        // id of this boot of the host
	Stall            time.Duration // how long a server may send nothing before it is asked anew
	Pause            time.Duration // before a fetch that broke is tried again; twice as long every time
	AllowFile        bool          // accept file:// too: whoever orders can have any file of the host tried as a slug
}

// Slug is where a slug comes from and what it must be.
type Slug struct {
	URL    string
	SHA256 string // hexadecimal, of the compressed file; "SHA256:" in front of it is accepted
}

// ChecksumError is a file that came whole but is not the one that was ordered. Both are lower-case hexadecimal. It is of
// the class errdefs.ErrDataLoss.
type ChecksumError struct{ Expected, Actual string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("checksum does not match: expected SHA256:%s, got SHA256:%s", e.Expected, e.Actual)
}

// Unwrap gives the error's class.
func (e *ChecksumError) Unwrap() error { return errdefs.ErrDataLoss }

// Store is the slugs of one host. All methods may be called by any goroutine, but Fetch not twice at once for one
// digest: the caller joins those.
type Store struct {
	config Config
	client *http.Client
	log    *slog.Logger

	mu       sync.Mutex // a slug and its note change together
	settling sync.WaitGroup
}

// Open makes the directory ready and removes what earlier fetches left unfinished. inUse says of which slugs there are
// dynos, from their digests: those stay in any case.
func Open(config Config, inUse func(sum string) bool, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make slug directory: %w", err)
	}
	if err := apart(config.Dir); err != nil {
		log.Debug("slugs are not kept apart on disk", "err", err) // it only helps
	}
	s := &Store{config: config, client: newClient(config), log: log}
	entries, err := os.ReadDir(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for slugs: %w", err)
	}
	for _, e := range entries {
		if err := s.sweep(e.Name(), inUse); err != nil {
			return nil, fmt.Errorf("sweep unfinished slug: %w", err)
		}
	}
	return s, nil
}

// sweep removes a directory entry that is not a whole slug.
func (s *Store) sweep(name string, inUse func(sum string) bool) error {
	path := filepath.Join(s.config.Dir, name)
	if strings.HasPrefix(name, partial) {
		return os.RemoveAll(path)
	}
	if sum, ok := strings.CutSuffix(name, noteSuffix); ok {
		if _, err := os.Stat(s.path(sum)); errors.Is(err, os.ErrNotExist) {
			return os.RemoveAll(path)
		}
	}
	if !validSum(name) {
		return nil
	}
	switch n := s.note(name); {
	case n.Synced:
	case n.Boot == s.config.Boot || inUse(name):
		s.settle(name)
	default:
		s.log.Warn("slug may be damaged: the host went down before it was on disk; it will be fetched again", "sha256", name)
		return s.Remove(name)
	}
	return nil
}

// Close lets go of idle connections, and waits for what is on its way to the disk.
func (s *Store) Close() {
	s.settling.Wait()
	s.client.CloseIdleConnections()
}

// Path is the directory of a slug that is here, with app in it; NotFound when it is not, InvalidArgument when
// sha256 is no digest.
func (s *Store) Path(sha256 string) (string, error) {
	sum, err := Sum(sha256)
	if err != nil {
		return "", err
	}
	dir := s.path(sum)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("find slug %s: %w: %w", sum, errdefs.ErrNotFound, err)
	}
	return dir, nil
}

// Sum is the lower-case hexadecimal form of a digest as people write it; InvalidArgument if it is none.
func Sum(sha256 string) (string, error) {
	sum := strings.TrimPrefix(strings.ToLower(sha256), "sha256:")
	if err := digest.NewDigestFromEncoded(digest.SHA256, sum).Validate(); err != nil {
		return "", fmt.Errorf("parse slug digest %q: %w: %w", sha256, errdefs.ErrInvalidArgument, err)
	}
	return sum, nil
}

// Fetch makes a slug present; at once if it is already. The file is read once: it is unpacked while it arrives,
// into a directory that gets its name only when the digest was right.
func (s *Store) Fetch(ctx context.Context, slug Slug, progress *transfer.Progress) (err error) {
	sum, err := Sum(slug.SHA256)
	if err != nil {
		return err
	}
	if _, err := s.Path(sum); err == nil {
		return nil
	}
	dir, err := os.MkdirTemp(s.config.Dir, partial)
	if err != nil {
		return fmt.Errorf("make slug directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := s.fill(ctx, dir, Slug{slug.URL, sum}, progress); err != nil {
		return fmt.Errorf("fetch slug %s: %w", sum, err)
	}
	if err := s.keep(dir, sum); err != nil {
		return err
	}
	s.log.Info("slug unpacked", "sha256", sum)
	s.settle(sum)
	return nil
}

// keep gives a directory that is whole its name.
func (s *Store) keep(dir, sum string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(sum, note{Boot: s.config.Boot}); err != nil {
		return err
	}
	if err := os.Rename(dir, s.path(sum)); err != nil {
		return fmt.Errorf("keep slug: %w", err)
	}
	return nil
}

func (s *Store) fill(ctx context.Context, dir string, slug Slug, progress *transfer.Progress) error {
	body, err := s.open(ctx, slug.URL, progress)
	if err != nil {
		return err
	}
	defer body.Close()
	file := newHashed(body, s.config.MaxBytes, progress)
	unpacked := s.unpack(ctx, dir, file)
	if err := file.drain(); err != nil {
		return err
	}
	// A wrong file is told as that, not as what is wrong in it.
	if actual := file.sum(); actual != slug.SHA256 {
		return &ChecksumError{Expected: slug.SHA256, Actual: actual}
	}
	return unpacked
}
