package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// filled is a stream whose every byte is known.
type filled struct {
	t       *testing.T
	dyno    string
	bytes   []byte // by position; meaningless in holes
	kept    map[int64]int64
	harmed  map[int64]bool // segments
	foreign bool           // segments that were never written lie among the others
	blind   bool           // names and times are harmed, too
}

func fill(t *testing.T, random *rand.Rand) *filled {
	f := &filled{t: t, dyno: filepath.Join(t.TempDir(), "dyno"), kept: map[int64]int64{}, harmed: map[int64]bool{}}
	w := openWriter(t, f.dyno, 64)
	for range 30 {
		chunk := make([]byte, 1+random.IntN(100))
		for i := range chunk {
			chunk[i] = byte('a' + random.IntN(26))
		}
		switch random.IntN(8) {
		case 0:
			w.Drop(int64(len(chunk)), 0, noon)
		case 1:
			must(t, w.End())
			continue
		default:
			must(t, w.Append(chunk, noon))
		}
		f.bytes = append(f.bytes, chunk...)
	}
	must(t, w.Append([]byte("last"), noon))
	f.bytes = append(f.bytes, "last"...)
	must(t, w.Close())
	for _, start := range f.list().Segments {
		fi, err := os.Stat(f.path(start, ".seg"))
		must(t, err)
		f.kept[start] = fi.Size()
	}
	return f
}

func (f *filled) list() spool.Listing {
	l, err := spool.List(spool.Dir(f.dyno, spool.Stdout))
	must(f.t, err)
	return l
}

func (f *filled) path(offset int64, suffix string) string {
	return filepath.Join(spool.Dir(f.dyno, spool.Stdout), spool.FileName(offset, suffix))
}

// harm does one kind of damage to one of the files. Failures do not matter: the file may be damaged already.
func (f *filled) harm(kind, which byte) {
	l := f.list()
	names := map[string][]int64{".seg": l.Segments, ".t": l.Marks, ".eof": l.Ends, ".lost": l.Losses}
	suffix := []string{".seg", ".seg", ".t", ".eof", ".lost"}[which%5]
	offset := int64(which) * 7
	if n := len(names[suffix]); n > 0 && kind < 200 {
		offset = names[suffix][int(which)%n]
	}
	path := f.path(offset, suffix)
	if suffix == ".seg" {
		f.harmed[offset] = true
		_, ours := f.kept[offset]
		f.foreign = f.foreign || !ours
	}
	f.blind = f.blind || suffix != ".seg"
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return // what follows would go through a link
	}
	switch kind % 10 {
	case 0:
		_ = os.Truncate(path, int64(which)%16)
	case 1:
		_ = os.Remove(path)
	case 2:
		flip(path, int64(which))
	case 3:
		_ = os.WriteFile(path, bytes.Repeat([]byte{which}, int(which)), 0o600)
	case 4:
		_ = os.Truncate(path, 1<<40) // sparse
	case 5:
		_ = os.Remove(path)
		_ = os.MkdirAll(filepath.Join(path, "full"), 0o700)
	case 6:
		_ = os.Remove(path)
		_ = unix.Mkfifo(path, 0o600)
	case 7:
		_ = os.Remove(path)
		_ = os.Symlink("/etc/passwd", path)
	case 8:
		_ = os.Remove(path)
		_ = os.Symlink(filepath.Base(f.path(0, ".seg")), path)
	case 9:
		_ = os.WriteFile(filepath.Join(f.dyno, "cursor"), bytes.Repeat([]byte{which}, 1000), 0o600)
		_ = os.WriteFile(filepath.Join(spool.Dir(f.dyno, spool.Stdout), fmt.Sprintf("x%c%016x.seg", which, which)), nil, 0o600)
	}
}

// flip changes one bit. The file may be huge by now.
func flip(path string, at int64) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at%info.Size()); err == nil {
		b[0] ^= 1
		_, _ = f.WriteAt(b, at%info.Size())
	}
}

// read walks the whole stream, sees that positions have no step and that no sound segment gives a wrong byte, and
// tells which positions were there.
func (f *filled) read() (end int64, data []bool) {
	r := spool.NewReader(spool.Dir(f.dyno, spool.Stdout), 0)
	defer r.Close()
	buf, data := make([]byte, 50), make([]bool, len(f.bytes))
	for range 100_000 {
		p, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return end, data
		}
		if err != nil {
			continue // skipped
		}
		if p.Offset != end || p.Lost < 0 || p.Lines < 0 || p.Lines > p.Lost {
			f.t.Fatalf("%+v at %d", p, end)
		}
		end += p.Lost + int64(len(p.Data))
		for i, m := range r.Marks(nil, p) {
			if m.Offset < p.Offset || m.Offset >= p.Offset+int64(len(p.Data)) || i == 0 && m.Offset > p.Offset {
				f.t.Fatalf("a mark at %d for %+v", m.Offset, p)
			}
		}
		for i := range p.Data {
			if at := p.Offset + int64(i); at < int64(len(data)) {
				data[at] = true
				f.same(at, p.Data[i])
			}
		}
	}
	f.t.Fatal("the reader does not end")
	return
}

// same compares a byte with what was written, if the file it was written to is sound.
func (f *filled) same(at int64, got byte) {
	for start, size := range f.kept {
		if start <= at && at < start+size && !f.harmed[start] && !f.foreign && got != f.bytes[at] {
			f.t.Fatalf("byte %d is %q, want %q", at, got, f.bytes[at])
		}
	}
}

// check reads a damaged stream and goes on writing it.
func (f *filled) check() {
	end, data := f.read()
	for start, size := range f.kept {
		missing := slices.Index(data[start:start+size], false)
		if missing >= 0 && !f.harmed[start] && !f.foreign {
			f.t.Fatalf("byte %d of a sound segment was not given", start+int64(missing))
		}
	}
	w, err := spool.OpenWriter(f.dyno, spool.Stdout, 64)
	must(f.t, err)
	at := w.Offset()
	if at < end {
		f.t.Fatalf("the next byte would be at %d, before what was read, %d", at, end)
	}
	if given := int64(len(f.bytes)); at < given && !f.blind && !f.foreign {
		f.t.Fatalf("the next byte would be at %d, where one was: they go to %d", at, given)
	}
	err = errors.Join(w.Append([]byte("more"), noon), w.Close())
	if err != nil {
		return // a position out of range
	}
	if now, _ := f.read(); now != at+4 {
		f.t.Fatalf("the stream ends at %d, want %d", now, at+4)
	}
}

func TestSoundStream(t *testing.T) {
	for seed := range uint64(20) {
		f := fill(t, rand.New(rand.NewPCG(seed, 1)))
		if end, _ := f.read(); end != int64(len(f.bytes)) {
			t.Fatalf("end %d, want %d", end, len(f.bytes))
		}
		f.check()
	}
}

func FuzzDamage(f *testing.F) {
	for kind := range byte(10) {
		f.Add(uint64(kind), []byte{kind, 0, kind, 3, kind, 4})
		f.Add(uint64(kind), []byte{kind, 7, kind + 10, 200, kind + 200, 13, kind + 200, 21})
	}
	f.Fuzz(func(t *testing.T, seed uint64, harm []byte) {
		stream := fill(t, rand.New(rand.NewPCG(seed, 1)))
		for ; len(harm) >= 2 && len(harm) < 40; harm = harm[2:] {
			stream.harm(harm[0], harm[1])
		}
		stream.check()
	})
}

// TestMarksThatAPowerCutTook has them as long as they were, and empty: the segment's own time holds.
func TestMarksThatAPowerCutTook(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 100)
	must(t, w.Append([]byte("0123456789"), noon))
	must(t, w.Close())
	must(t, os.WriteFile(filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(0, ".t")), make([]byte, spool.MarkSize), 0o600))
	r := reader(t, dir, 0)
	p, err := r.Next(make([]byte, 100))
	must(t, err)
	if at := r.Marks(nil, p)[0].Time; time.Since(at).Abs() > time.Hour {
		t.Errorf("%q came at %s", p.Data, at)
	}
}

// TestDamagedSegment hurts the second of three segments.
func TestDamagedSegment(t *testing.T) {
	first, third := `0 "0123456789"`, `20 "abcdefghij"`
	for name, c := range map[string]struct {
		hurt func(path string) error
		want []string
	}{
		"torn":    {func(p string) error { return os.Truncate(p, 4) }, []string{`10 "klmn"`, "14 gap 6"}},
		"grown":   {func(p string) error { return os.WriteFile(p, []byte("KLMNOPQRSTUVW"), 0o600) }, []string{`10 "KLMNOPQRST"`}},
		"missing": {os.Remove, []string{"10 gap 10"}},
		"empty":   {func(p string) error { return os.Truncate(p, 0) }, []string{"10 gap 10"}},
		"huge":    {func(p string) error { return os.Truncate(p, 1<<40) }, []string{"10 gap 10"}},
		"a link": {
			func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
			[]string{"10 gap 10"},
		},
		"a pipe": {
			func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) },
			[]string{"10 gap 10"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := openWriter(t, dir, 10)
			for _, text := range []string{"0123456789", "klmnopqrst", "abcdefghij"} {
				must(t, w.Append([]byte(text), noon))
			}
			must(t, c.hurt(filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(10, ".seg"))))
			expect(t, walk(t, reader(t, dir, 0)), append(append([]string{first}, c.want...), third)...)
		})
	}
}
