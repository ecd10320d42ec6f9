package slugs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/slugs"
	"github.com/dynod/dynod/runtime/transfer"
)

// unused says of every slug that no dyno uses it.
func unused(string) bool { return false }

// source is a slug on disk, with a store to fetch it into.
type source struct {
	t     *testing.T
	dir   string
	store *slugs.Store
}

func newSource(t *testing.T, change ...func(*slugs.Config)) *source {
	t.Helper()
	dir := t.TempDir()
	config := slugs.Config{
		Dir: filepath.Join(dir, "slugs"), MaxBytes: 1 << 20, MaxUnpackedBytes: 1 << 20, Owner: os.Getuid(), AllowFile: true,
		Boot: "this", Stall: time.Minute, Pause: time.Millisecond,
	}
	for _, c := range change {
		c(&config)
	}
	store, err := slugs.Open(config, unused, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(store.Close)
	return &source{t: t, dir: dir, store: store}
}

// write makes a file and says how to order it.
func (s *source) write(data []byte) slugs.Slug {
	s.t.Helper()
	path := filepath.Join(s.dir, "slug.tgz")
	must(s.t, os.WriteFile(path, data, 0o644))
	sum := sha256.Sum256(data)
	return slugs.Slug{URL: "file://" + path, SHA256: hex.EncodeToString(sum[:])}
}

// unpacked fetches a slug of these entries and returns its directory.
func (s *source) unpacked(entries ...tar.Header) (string, error) {
	s.t.Helper()
	slug := s.write(pack(s.t, entries))
	if err := s.store.Fetch(s.t.Context(), slug, &transfer.Progress{}); err != nil {
		return "", err
	}
	return s.store.Path(slug.SHA256)
}

// pack fills files with their names.
func pack(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var data bytes.Buffer
	zip := gzip.NewWriter(&data)
	w := tar.NewWriter(zip)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(h.Name))
			must(t, err)
		}
	}
	must(t, errors.Join(w.Close(), zip.Close()))
	return data.Bytes()
}

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Uid: 4711}
}

func TestSlugIsUnpacked(t *testing.T) {
	dir, err := newSource(t).unpacked(
		tar.Header{Typeflag: tar.TypeDir, Name: "./app/", Mode: 0o755},
		file("./app/Procfile"),
		file("app/deep/in/directories/nobody/named"),
		file("./app/.wh.not-a-deletion"),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./app/link", Linkname: "Procfile"},
		tar.Header{Typeflag: tar.TypeLink, Name: "./app/hard", Linkname: "./app/Procfile"},
		tar.Header{Typeflag: tar.TypeDir, Name: "./app/closed", Mode: 0},
		file("./app/closed/file"),
	)
	must(t, err)
	for name, want := range map[string]string{
		"Procfile": "./app/Procfile", "link": "./app/Procfile", "hard": "./app/Procfile", "closed/file": "./app/closed/file",
		"deep/in/directories/nobody/named": "app/deep/in/directories/nobody/named", ".wh.not-a-deletion": "./app/.wh.not-a-deletion",
	} {
		if data, err := os.ReadFile(filepath.Join(dir, "app", name)); string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

func TestHostileEntriesStayOutside(t *testing.T) {
	s := newSource(t)
	outside := filepath.Join(s.dir, "outside")
	must(t, os.Mkdir(outside, 0o755))
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	dir, err := s.unpacked(
		file("./app/good"),
		file("../../outside/dots"),
		file("./app/../../../outside/dots"),
		file("/etc/absolute"),
		file("./other/ignored"),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./app/out", Linkname: outside},
		file("./app/out/through-link"),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./app/conf", Linkname: "/etc"},
		file("./app/conf/ld.so.preload"),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./app/up", Linkname: "../../../outside"},
		file("./app/up/through-link"),
		tar.Header{Typeflag: tar.TypeLink, Name: "./app/stolen", Linkname: filepath.Join(outside, "secret")},
		tar.Header{Typeflag: tar.TypeLink, Name: "./app/stolen2", Linkname: "../../outside/secret"},
		tar.Header{Typeflag: tar.TypeChar, Name: "./app/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeBlock, Name: "./app/disk", Mode: 0o666, Devmajor: 8},
		tar.Header{Typeflag: tar.TypeFifo, Name: "./app/fifo", Mode: 0o666},
		tar.Header{Typeflag: tar.TypeReg, Name: "./app/setuid", Mode: 0o6755},
		tar.Header{
			Typeflag: tar.TypeReg, Name: "./app/capable", Mode: 0o755,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\xff\xff\xff\xff", "SCHILY.xattr.user.x": "y"},
		},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./app", Linkname: outside},
	)
	must(t, err)
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	top, err := os.ReadDir(dir)
	if err != nil || len(top) != 1 || top[0].Name() != "app" || !top[0].IsDir() {
		t.Errorf("beside app: %v, %v", top, err)
	}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		if odd := info.Mode() & (fs.ModeDevice | fs.ModeNamedPipe | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSocket); odd != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		if strings.HasPrefix(e.Name(), "stolen") {
			t.Errorf("%s is linked from outside", e.Name())
		}
		return nil
	}))
}

func TestSlugsThatAreRefused(t *testing.T) {
	bomb := pack(t, []tar.Header{file("./app/" + strings.Repeat("x", 90))})
	long := strings.Repeat("a/", 2048)
	for name, c := range map[string]struct {
		data   []byte
		change func(*slugs.Config)
		is     func(error) bool
	}{
		"no gzip":            {[]byte("not a slug"), nil, errdefs.IsInvalidArgument},
		"compressed size":    {bomb, func(c *slugs.Config) { c.MaxBytes = 50 }, errdefs.IsOutOfRange},
		"unpacked size":      {bomb, func(c *slugs.Config) { c.MaxUnpackedBytes = 50 }, errdefs.IsOutOfRange},
		"cut off":            {bomb[:len(bomb)-20], nil, func(err error) bool { return err != nil }},
		"long name":          {pack(t, []tar.Header{file("./app/" + long + "f")}), nil, errdefs.IsOutOfRange},
		"long link":          {pack(t, []tar.Header{{Typeflag: tar.TypeSymlink, Name: "./app/l", Linkname: long}}), nil, errdefs.IsOutOfRange},
		"file not permitted": {bomb, func(c *slugs.Config) { c.AllowFile = false }, errdefs.IsInvalidArgument},
	} {
		s := newSource(t, func(config *slugs.Config) {
			if c.change != nil {
				c.change(config)
			}
		})
		slug := s.write(c.data)
		if err := s.store.Fetch(t.Context(), slug, &transfer.Progress{}); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.store.Path(slug.SHA256); !errdefs.IsNotFound(err) {
			t.Errorf("%s: it is there: %v", name, err)
		}
		if left, _ := os.ReadDir(filepath.Join(s.dir, "slugs")); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// Directories count too, once, whether the slug names them or only what is in them.
func TestDirectoriesAreCounted(t *testing.T) {
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
	for name, c := range map[string]struct {
		entries []tar.Header
		count   int
	}{
		"none":             {[]tar.Header{file("./app/f"), file("./app/g")}, 2},
		"named":            {[]tar.Header{dir("./app/a/"), file("./app/a/f"), file("./app/a/g")}, 3},
		"implied":          {[]tar.Header{file("./app/a/b/c/f"), file("./app/a/b/g")}, 5},
		"named afterwards": {[]tar.Header{file("./app/a/b/f"), dir("./app/a/b"), dir("./app/a")}, 3},
		"deep":             {[]tar.Header{file("./app/" + strings.Repeat("a/", 2000) + "f")}, 2001},
	} {
		if err := slugs.Accept(c.count, c.entries...); err != nil {
			t.Errorf("%s, room for %d: %v", name, c.count, err)
		}
		if err := slugs.Accept(c.count-1, c.entries...); !errdefs.IsOutOfRange(err) {
			t.Errorf("%s, room for %d: %v", name, c.count-1, err)
		}
	}
}

func TestRedirectsAndStatus(t *testing.T) {
	data := pack(t, []tar.Header{file("./app/x")})
	mux := http.NewServeMux()
	mux.HandleFunc("/slug", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	mux.Handle("/good", http.RedirectHandler("/slug", http.StatusFound))
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.Handle("/metadata", http.RedirectHandler("http://169.254.169.254/latest/", http.StatusFound))
	mux.Handle("/metadata6", http.RedirectHandler("http://[fe80::1]/latest/", http.StatusFound))
	mux.Handle("/metadata-aws", http.RedirectHandler("http://[fd00:ec2::254]/latest/", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(data)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	s := newSource(t, func(c *slugs.Config) { c.AllowHTTP = true })
	slug := s.write(data)
	for path, is := range map[string]func(error) bool{
		"/file": errdefs.IsInvalidArgument, "/metadata": errdefs.IsPermissionDenied, "/metadata6": errdefs.IsPermissionDenied,
		"/metadata-aws": errdefs.IsPermissionDenied,
		"/loop":         func(err error) bool { return err != nil }, "/broken": errdefs.IsUnavailable, "/none": errdefs.IsNotFound,
		"/short": func(err error) bool { _, sum := errors.AsType[*slugs.ChecksumError](err); return err != nil && !sum },
	} {
		slug.URL = server.URL + path + "?signature=hidden"
		err := s.store.Fetch(t.Context(), slug, &transfer.Progress{})
		if !is(err) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", path, err)
		}
	}
	slug.URL = server.URL + "/good"
	must(t, s.store.Fetch(t.Context(), slug, &transfer.Progress{}))
	slug.URL = server.URL + "/none"
	must(t, s.store.Fetch(t.Context(), slug, &transfer.Progress{})) // it is here
}

func TestOpenSweepsWhatWasInterrupted(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "partial-123", "app"), 0o755))
	made := map[string]string{ // notes by what their slug is
		"synced": `{"boot": "before", "synced": true, "bytes": 1}`, "this boot's": `{"boot": "this"}`,
		"an earlier boot's": `{"boot": "before"}`, "noted with garbage": "\x00\x00\x00", "in use": `{"boot": "before"}`, "not noted": "",
	}
	sums := map[string]string{}
	for what, note := range made {
		sum := sha256.Sum256([]byte(what))
		sums[what] = hex.EncodeToString(sum[:])
		must(t, os.MkdirAll(filepath.Join(dir, sums[what], "app"), 0o755))
		if note != "" {
			must(t, os.WriteFile(filepath.Join(dir, sums[what]+".json"), []byte(note), 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, strings.Repeat("1", 64)+".json"), nil, 0o600)) // of a slug that is gone
	store, err := slugs.Open(slugs.Config{Dir: dir, Boot: "this"}, func(sum string) bool { return sum == sums["in use"] }, slog.New(slog.DiscardHandler))
	must(t, err)
	store.Close()
	for what, stays := range map[string]bool{
		"synced": true, "this boot's": true, "in use": true, "an earlier boot's": false, "noted with garbage": false, "not noted": false,
	} {
		path, err := store.Path("SHA256:" + sums[what])
		if stays && (err != nil || path != filepath.Join(dir, sums[what])) || !stays && !errdefs.IsNotFound(err) {
			t.Errorf("a slug that is %s: %s, %v", what, path, err)
		}
		data, _ := os.ReadFile(filepath.Join(dir, sums[what]+".json"))
		if synced := strings.Contains(string(data), `"synced":`) && strings.Contains(string(data), "true"); synced != stays {
			t.Errorf("note of a slug that is %s: %s", what, data)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 6 {
		t.Errorf("left %v, %v", left, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
