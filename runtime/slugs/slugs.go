// Package slugs keeps the slugs of a host unpacked, one directory each, named by the digest of the compressed
// file. A slug is a gzip tar of which only what lies below ./app counts.
//
// Nothing of a slug is trusted before its digest is right, and nothing that is in one can reach outside its
// directory: links and names are resolved below it, devices and privileges are left out. A directory under its
// final name is whole; what an interrupted fetch leaves is swept by the next Open.
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

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// partial begins the name of a directory that is being filled.
const partial = "partial-"

// Config is where slugs go and what is accepted.
type Config struct {
	Dir              string // on disk; made if missing
	MaxBytes         int64  // of the compressed file
	MaxUnpackedBytes int64  // of the files in it together
	Owner            int    // uid and gid of every file, as the layers are numbered on disk
	AllowHTTP        bool   // accept http:// as well as https://
	AllowFile        bool   // accept file:// too: whoever orders can have any file of the host tried as a slug
}

// Slug is where a slug comes from and what it must be.
type Slug struct {
	URL    string
	SHA256 string // hexadecimal, of the compressed file; "SHA256:" in front of it is accepted
}

// ChecksumError is a file that came whole but is not the one that was ordered. Both are lower-case hexadecimal.
type ChecksumError struct{ Expected, Actual string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("checksum does not match: expected SHA256:%s, got SHA256:%s", e.Expected, e.Actual)
}

// Store is the slugs of one host. All methods may be called by any goroutine, but Fetch not twice at once for one
// digest: the caller joins those.
type Store struct {
	config Config
	client *http.Client
	log    *slog.Logger
}

// Open makes the directory ready and removes what earlier fetches left unfinished.
func Open(config Config, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make slug directory: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(config.Dir, partial+"*"))
	if err != nil {
		return nil, fmt.Errorf("look for unfinished slugs: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("sweep unfinished slug: %w", err)
		}
	}
	return &Store{config: config, client: newClient(config), log: log}, nil
}

// Close lets go of idle connections.
func (s *Store) Close() { s.client.CloseIdleConnections() }

// Path is the directory of a slug that is here, with app in it; NotFound when it is not, InvalidArgument when
// sha256 is no digest.
func (s *Store) Path(sha256 string) (string, error) {
	sum, err := Sum(sha256)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.config.Dir, sum)
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
func (s *Store) Fetch(ctx context.Context, slug Slug) (err error) {
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
	if err := s.fill(ctx, dir, slug.URL, sum); err != nil {
		return fmt.Errorf("fetch slug %s: %w", sum, err)
	}
	if err := os.Rename(dir, filepath.Join(s.config.Dir, sum)); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("keep slug: %w", err)
	}
	s.log.Info("slug unpacked", "sha256", sum)
	return nil
}

func (s *Store) fill(ctx context.Context, dir, url, sum string) error {
	body, err := s.open(ctx, url)
	if err != nil {
		return err
	}
	defer body.Close()
	file := newHashed(body, s.config.MaxBytes)
	unpacked := s.unpack(ctx, dir, file)
	if err := file.drain(); err != nil {
		return err
	}
	// A wrong file is told as that, not as what is wrong in it.
	if actual := file.sum(); actual != sum {
		return &ChecksumError{Expected: sum, Actual: actual}
	}
	return unpacked
}
