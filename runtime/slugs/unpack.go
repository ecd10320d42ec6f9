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
	"golang.org/x/sys/unix"
)

const (
	app = "app"
	// maxEntries bounds the files and directories of a slug, named or not: they cost inodes, however small they are.
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
	rules := &rules{owner: s.config.Owner, left: s.config.MaxUnpackedBytes, room: maxEntries, dirs: map[string]bool{}}
	// The headers themselves are bounded too: the stream can hold a little more than the files.
	stream := io.LimitReader(unzipped, s.config.MaxUnpackedBytes*2+maxEntries*1024)
	if err := spread(ctx, top, stream, rules); err != nil {
		return fmt.Errorf("unpack slug: %w", err)
	}
	return rules.own(ctx, top)
}

// prepare makes the app's directory, which a slug need not name.
func (s *Store) prepare(dir, top string) error {
	return errors.Join(os.Chmod(dir, 0o755), os.Mkdir(top, 0o755), os.Chown(top, s.config.Owner, s.config.Owner))
}

// rules decides over the entries of one slug.
type rules struct {
	owner int
	left  int64           // bytes
	room  int             // files and directories
	dirs  map[string]bool // directories below the app, true if the slug named them itself
}

// accept takes files, directories and links below ./app, names them from there, and makes their headers harmless.
func (r *rules) accept(h *tar.Header) (bool, error) {
	if len(h.Name) >= unix.PathMax || len(h.Linkname) >= unix.PathMax {
		return false, fmt.Errorf("check slug: %w: a name of %d bytes or more", errdefs.ErrOutOfRange, unix.PathMax)
	}
	name, ok := below(h.Name)
	if !ok || !ordinary(h) {
		return false, nil
	}
	if r.left -= max(h.Size, 0); r.left < 0 {
		return false, fmt.Errorf("check slug: %w: its files are larger than allowed", errdefs.ErrOutOfRange)
	}
	if r.note(name, h.Typeflag == tar.TypeDir); r.room < 0 {
		return false, fmt.Errorf("check slug: %w: more than %d files and directories", errdefs.ErrOutOfRange, maxEntries)
	}
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

// note counts an entry, and the directories that come to be only because something is in them, and remembers these.
func (r *rules) note(name string, dir bool) {
	if named, known := r.dirs[name]; !dir || !known || named { // else it was counted by what is in it
		r.room--
	}
	if dir {
		r.dirs[name] = true
	}
	for above := parent(name); above != ""; above = parent(above) {
		if _, known := r.dirs[above]; known {
			return
		}
		r.dirs[above] = false
		r.room--
	}
}

// parent is the directory of a clean name; empty for the app itself. path.Dir would look at all of a long name.
func parent(name string) string { return name[:max(0, strings.LastIndexByte(name, '/'))] }

// own gives the directories that the slug did not name to the owner. A later entry may have put a link in the place of one:
// nothing outside is touched then.
func (r *rules) own(ctx context.Context, dir string) error {
	top, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open slug directory: %w", err)
	}
	defer top.Close()
	for name, named := range r.dirs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !named {
			r.ownOne(ctx, top, name)
		}
	}
	return nil
}

// ownOne has the kernel walk the name: os.Root would open each directory of it. What fails is gone, or behind a link that leads
// out.
func (r *rules) ownOne(ctx context.Context, top *os.File, name string) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	fd, err := unix.Openat2(int(top.Fd()), name, &how)
	for errors.Is(err, unix.EAGAIN) && ctx.Err() == nil { // something was renamed meanwhile, anywhere
		fd, err = unix.Openat2(int(top.Fd()), name, &how)
	}
	if err != nil {
		return
	}
	_ = unix.Fchownat(fd, "", r.owner, r.owner, unix.AT_EMPTY_PATH)
	_ = unix.Close(fd)
}
