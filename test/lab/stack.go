package lab

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// stackPath is where commands of a stack are found.
const stackPath = "/usr/local/bin:/usr/bin:/bin"

// stackConfig is the configuration of a stack image.
var stackConfig = v1.Config{Env: []string{"PATH=" + stackPath}, Cmd: []string{"/bin/bash"}}

// SmallStack makes an OCI archive of a stack of 4 MB, with busybox, bash and the least of /etc, from the machine's
// static binaries. The same binaries give the same archive, kept in build/cache.
func SmallStack(ctx context.Context) (string, error) {
	files, err := smallFiles(ctx)
	if err != nil {
		return "", fmt.Errorf("make small stack: %w", err)
	}
	sum := sha256.New()
	if err := writeTar(sum, files); err != nil {
		return "", fmt.Errorf("make small stack: %w", err)
	}
	name := "stack-small-" + hex.EncodeToString(sum.Sum(nil))[:16] + ".tar"
	return Cached(name, func(path string) error {
		return writeImage(path, "small", stackConfig, func(w io.Writer) error { return writeTar(w, files) })
	})
}

// smallFiles are the stack's files by name.
func smallFiles(ctx context.Context) (map[string]File, error) {
	files := map[string]File{
		"bin/busybox":     {From: "/bin/busybox", Mode: 0o755},
		"bin/bash":        {From: "/bin/bash-static", Mode: 0o755},
		"etc/passwd":      {Data: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		"etc/group":       {Data: "root:x:0:\nnogroup:x:65534:\n"},
		"etc/profile":     {Data: "# The least that a login shell may expect.\numask 022\n"},
		"etc/os-release":  {Data: "ID=dynod-small\nNAME=\"dynod small stack\"\n"},
		"etc/hosts":       {},
		"etc/hostname":    {},
		"etc/resolv.conf": {},
		"tmp":             {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		"var/tmp":         {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	}
	for _, dir := range []string{"app", "dev", "proc", "sys", "run", "sbin", "root", "usr/bin", "usr/sbin", "usr/local/bin"} {
		files[dir] = File{Mode: fs.ModeDir | 0o755}
	}
	applets, err := exec.CommandContext(ctx, "/bin/busybox", "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list busybox applets: %w", err)
	}
	for name := range strings.Lines(string(applets)) {
		name = strings.TrimSpace(name)
		if _, taken := files["bin/"+name]; !taken {
			files["bin/"+name] = File{Link: "busybox"}
		}
	}
	return files, nil
}

// File is one file of a stack or a slug. The zero value is an empty file, mode 0644.
type File struct {
	Data string      // contents
	From string      // instead of Data: a file of the machine that holds the contents
	Link string      // instead of contents: a symbolic link to this
	Mode fs.FileMode // 0 = 0644; with fs.ModeDir a directory
}

// writeTar writes files in the order of their names, owned by root, dated 1970, so that the same files make the
// same bytes.
func writeTar(w io.Writer, files map[string]File) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	tw := tar.NewWriter(w)
	for _, name := range names {
		if err := writeFile(tw, name, files[name]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return tw.Close()
}

func writeFile(tw *tar.Writer, name string, f File) error {
	data := []byte(f.Data)
	if f.From != "" {
		var err error
		if data, err = os.ReadFile(f.From); err != nil {
			return err
		}
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: tarMode(f.Mode), Size: int64(len(data))}
	switch {
	case f.Mode.IsDir():
		h.Typeflag, h.Name, h.Size = tar.TypeDir, name+"/", 0
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode, h.Size = tar.TypeSymlink, f.Link, 0o777, 0
	}
	if err := tw.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	_, err := tw.Write(data)
	return err
}

// tarMode turns a file mode into the bits of a tar header.
func tarMode(m fs.FileMode) int64 {
	if m == 0 {
		m = 0o644
	}
	bits := int64(m.Perm())
	for from, to := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&from != 0 {
			bits |= to
		}
	}
	return bits
}

// writeImage writes an OCI archive with one image, dynod.local/stack/<name>:latest, of one layer, which layer writes
// as a tar stream.
func writeImage(path, name string, config v1.Config, layer func(io.Writer) error) error {
	img, err := image(config, layer)
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	dir := path + ".layout"
	defer os.RemoveAll(dir)
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	names := map[string]string{
		"io.containerd.image.name":          "dynod.local/stack/" + name + ":latest",
		"org.opencontainers.image.ref.name": "latest",
	}
	if err := index.AppendImage(img, layout.WithAnnotations(names)); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return packLayout(path, dir)
}

func image(config v1.Config, layer func(io.Writer) error) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(layer(w)) }()
		return r, nil
	}, tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: goruntime.GOARCH,
		OS:           "linux",
		Config:       config,
		RootFS:       configRootFS(img),
	})
}

// configRootFS is the list of layers that img already has.
func configRootFS(img v1.Image) v1.RootFS {
	c, err := img.ConfigFile()
	if err != nil {
		return v1.RootFS{}
	}
	return c.RootFS
}

// packLayout packs the files of an OCI layout into a tar.
func packLayout(path, dir string) error {
	files := map[string]File{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		files[name] = File{From: file}
		return err
	})
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := writeTar(out, files); err != nil {
		return err
	}
	return out.Close()
}
