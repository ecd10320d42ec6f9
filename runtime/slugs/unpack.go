package slugs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	app = "app"
	// maxEntries bounds the files and directories of a slug: they cost inodes, however small they are.
	maxEntries = 1_000_000
)

// unpack writes the app of a compressed tar into dir. The caller checks the digest, whatever is returned.
func (s *Store) unpack(ctx context.Context, dir string, file io.Reader) error {
	// The app is the root of everything that is resolved: not even a link to /etc leads out of it, to where the
	// stack's files are in a dyno.
	top := filepath.Join(dir, app)
	if err := s.prepare(dir, top); err != nil {
		return err
	}
	// Each in a goroutine of its own, it is read and digested, decompressed, and taken apart.
	read := newReadAhead(file)
	defer read.stop()
	plain, err := decompress(read)
	if err != nil {
		return err
	}
	unzipped := newReadAhead(plain)
	defer unzipped.stop()
	rules := &rules{owner: s.config.Owner, left: s.config.MaxUnpackedBytes, dirs: map[string]bool{}}
	// The headers themselves are bounded too: the stream can hold a little more than the files.
	stream := io.LimitReader(unzipped, s.config.MaxUnpackedBytes*2+maxEntries*1024)
	if err := spread(ctx, top, stream, rules); err != nil {
		return fmt.Errorf("unpack slug: %w", err)
	}
	return rules.own(top)
}

// prepare makes the app's directory, which a slug need not name.
func (s *Store) prepare(dir, top string) error {
	return errors.Join(os.Chmod(dir, 0o755), os.Mkdir(top, 0o755), os.Chown(top, s.config.Owner, s.config.Owner))
}

// rules decides over the entries of one slug.
type rules struct {
	owner   int
	left    int64           // bytes
	entries int             // accepted so far
	dirs    map[string]bool // directories below the app, true if the slug named them itself
}

// accept takes files, directories and links below ./app, names them from there, and makes their headers harmless.
func (r *rules) accept(h *tar.Header) (bool, error) {
	name, ok := below(h.Name)
	if !ok || !ordinary(h) {
		return false, nil
	}
	if r.left -= max(h.Size, 0); r.left < 0 {
		return false, fmt.Errorf("check slug: %w: its files are larger than allowed", errdefs.ErrOutOfRange)
	}
	if r.entries++; r.entries > maxEntries {
		return false, fmt.Errorf("check slug: %w: more than %d files", errdefs.ErrOutOfRange, maxEntries)
	}
	r.note(name, h.Typeflag == tar.TypeDir)
	*h = tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode & 0o777,
		Uid: r.owner, Gid: r.owner, ModTime: h.ModTime, Format: tar.FormatPAX,
	}
	if h.Typeflag == tar.TypeDir {
		h.Mode |= 0o700 // the rest of the slug must fit in, and its owner be able to read it
	}
	return true, nil
}

// below is a name from the app on, if it is there and not the app itself.
func below(name string) (string, bool) {
	return strings.CutPrefix(path.Clean("/"+name), "/"+app+"/")
}

// ordinary says whether an entry is of a kind that a slug may hold. A hard link must lead to a file of the slug.
func ordinary(h *tar.Header) bool {
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeReg, tar.TypeSymlink:
		return true
	case tar.TypeLink:
		target, ok := below(h.Linkname)
		h.Linkname = target
		return ok
	}
	return false
}

// note remembers the directories that come to be only because something is in them.
func (r *rules) note(name string, named bool) {
	if named {
		r.dirs[name] = true
	}
	for dir := path.Dir(name); dir != "." && !r.dirs[dir]; dir = path.Dir(dir) {
		if _, known := r.dirs[dir]; known {
			return
		}
		r.dirs[dir] = false
	}
}

// own gives the directories that the slug did not name to the owner. A later entry may have put a link in the
// place of one: nothing outside is touched then.
func (r *rules) own(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open slug directory: %w", err)
	}
	defer root.Close()
	for name, named := range r.dirs {
		if named {
			continue
		}
		// What fails here is gone, or behind a link that leads out.
		_ = root.Lchown(name, r.owner, r.owner)
	}
	return nil
}
