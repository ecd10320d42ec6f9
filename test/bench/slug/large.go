// Package slug makes large slugs as benchmarks need them, and has containerd unpack such a file in its own way.
package slug

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/dynod/dynod/test/lab"
)

// What is in it: with the words below it is as compressible as a usual slug, and like one it is mostly small files.
const (
	filesOfMegabyte = 200
	filesOfDir      = 40
	meanSize        = 14_300 // of a file
	vocabulary      = 1024
	longestWord     = 11
)

// Made is a large slug, in build/cache.
type Made struct {
	File   string
	Format Format
}

// Large makes one of about so many megabytes (as a tar.gz) the first time, which takes some seconds. It holds test/apps/mark,
// and files of words: the same in each format.
func Large(ctx context.Context, megabytes int, format Format) (Made, error) {
	mark, err := lab.Mark(ctx)
	if err != nil {
		return Made{}, err
	}
	file, err := lab.Cached(fmt.Sprintf("slug-%d-megabytes.%s", megabytes, format.Suffix), func(path string) error {
		return write(path, format, mark, megabytes*filesOfMegabyte)
	})
	return Made{file, format}, err
}

func write(path string, format Format, mark string, files int) error {
	program, err := os.ReadFile(mark)
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	zw, err := format.compress(out)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	if err := add(tw, "./app/mark", 0o755, program); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	words := words(random)
	for n := range files {
		text := prose(random, words, random.IntN(2*meanSize))
		if err := add(tw, fmt.Sprintf("./app/lib/%d/%d.js", n/filesOfDir, n), 0o644, text); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return out.Close()
}

func add(tw *tar.Writer, name string, mode int64, data []byte) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}

func words(random *rand.Rand) [][]byte {
	all := make([][]byte, vocabulary)
	for i := range all {
		word := make([]byte, 2+random.IntN(longestWord-1))
		for k := range word {
			word[k] = 'a' + byte(random.IntN(26))
		}
		all[i] = append(word, ' ')
	}
	return all
}

// prose is size bytes of words.
func prose(random *rand.Rand, words [][]byte, size int) []byte {
	text := make([]byte, 0, size+longestWord+1)
	for len(text) < size {
		text = append(text, words[random.IntN(len(words))]...)
	}
	return text[:size]
}

// Variant writes the n-th of its like into dir: the same files under another checksum.
func (m Made) Variant(dir string, n int) (file, sum string, err error) {
	from, err := os.Open(m.File)
	if err != nil {
		return "", "", err
	}
	defer from.Close()
	file = filepath.Join(dir, fmt.Sprintf("slug-large-%d.%s", n, m.Format.Suffix))
	to, err := os.Create(file)
	if err != nil {
		return "", "", err
	}
	defer to.Close()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(to, hash), io.MultiReader(from, m.Format.nothing(n))); err != nil {
		return "", "", err
	}
	return file, hex.EncodeToString(hash.Sum(nil)), to.Sync()
}
