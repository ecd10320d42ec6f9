package lab

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Slug packs files, named as they appear below the app's directory, into a slug: a gzip tar with everything under
// ./app. It returns where it lies, in build/cache, and the SHA256 of the compressed file in hexadecimal.
func Slug(files map[string]File) (file, sum string, err error) {
	repo, err := repository()
	if err != nil {
		return "", "", err
	}
	cache := filepath.Join(repo, "build", "cache")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", "", fmt.Errorf("make slug: %w", err)
	}
	tmp, err := os.CreateTemp(cache, "slug-*.partial")
	if err != nil {
		return "", "", fmt.Errorf("make slug: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	hash := sha256.New()
	if err := writeSlug(io.MultiWriter(tmp, hash), files); err != nil {
		return "", "", fmt.Errorf("make slug: %w", err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	file = filepath.Join(cache, "slug-"+sum[:16]+".tgz")
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return "", "", fmt.Errorf("make slug: %w", err)
	}
	return file, sum, os.Rename(tmp.Name(), file)
}

func writeSlug(w io.Writer, files map[string]File) error {
	zw := gzip.NewWriter(w)
	if err := writeTar(zw, placed(files)); err != nil {
		return err
	}
	return zw.Close()
}

// placed are the files as a slug and an image have them: below ./app, with every directory on the way.
func placed(files map[string]File) map[string]File {
	all := map[string]File{"./app": {Mode: fs.ModeDir | 0o755}}
	for name, f := range files {
		name = "./app/" + path.Clean(name)
		all[name] = f
		for dir := path.Dir(name); dir != "app" && dir != "."; dir = path.Dir(dir) {
			if _, known := all["./"+path.Clean(dir)]; !known {
				all["./"+path.Clean(dir)] = File{Mode: fs.ModeDir | 0o755}
			}
		}
	}
	return all
}
