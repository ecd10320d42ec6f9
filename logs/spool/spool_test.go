package spool_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func openWriter(t *testing.T, dir string, segment int64) *spool.Writer {
	t.Helper()
	w, err := spool.OpenWriter(dir, spool.Stdout, segment)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// walk gives everything that a fresh reader finds, as text: bytes in quotes, gaps and ends by name.
func walk(t *testing.T, r *spool.Reader) (all []string) {
	t.Helper()
	buf := make([]byte, 1000)
	for {
		p, err := r.Next(buf)
		switch {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		case p.Kind == spool.Data:
			all = append(all, fmt.Sprintf("%d %q", p.Offset, p.Data))
		case p.Kind == spool.Gap:
			all = append(all, fmt.Sprintf("%d gap %d", p.Offset, p.Lost))
		case p.Kind == spool.End:
			all = append(all, fmt.Sprintf("%d end", p.Offset))
		}
	}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func reader(t *testing.T, dir string, from int64) *spool.Reader {
	r := spool.NewReader(spool.Dir(dir, spool.Stdout), from)
	t.Cleanup(r.Close)
	return r
}

func TestReaderFollowsWriter(t *testing.T) {
	dir := t.TempDir()
	r := reader(t, dir, 0)
	expect(t, walk(t, r))
	w := openWriter(t, dir, 10)
	must(t, w.Append([]byte("hello "), noon))
	expect(t, walk(t, r), `0 "hello "`)
	must(t, w.Append([]byte("world"), noon)) // over the segment's size: the next one is new
	must(t, w.Append([]byte("again"), noon))
	expect(t, walk(t, r), `6 "world"`, `11 "again"`)
	must(t, w.End())
	must(t, w.End())
	expect(t, walk(t, r), "16 end")
	must(t, w.Append([]byte("next life"), noon))
	expect(t, walk(t, r), `16 "next life"`)
	expect(t, walk(t, reader(t, dir, 6)), `6 "world"`, `11 "again"`, "16 end", `16 "next life"`)
}

// TestReaderWithoutRoom: to a reader that has no room for a byte, bytes that are there are no hole.
func TestReaderWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 10)
	must(t, w.Append([]byte("heard"), noon))
	r := reader(t, dir, 0)
	if p, err := r.Next(make([]byte, 5)); err != nil || len(p.Data) != 5 {
		t.Fatalf("%+v, %v", p, err)
	}
	must(t, w.Append([]byte("since"), noon))
	must(t, w.Append([]byte("in the next one"), noon))
	must(t, w.End())
	for _, r := range []*spool.Reader{r, reader(t, dir, 5)} {
		for range 2 {
			if p, err := r.Next(nil); !errors.Is(err, io.EOF) {
				t.Fatalf("%+v, %v", p, err)
			}
		}
		expect(t, walk(t, r), `5 "since"`, `10 "in the next one"`, "25 end")
	}
	r = reader(t, dir, 25)
	if p, err := r.Next(nil); err != nil || p.Kind != spool.End {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestDropIsTheHoleInTheNames(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	r := reader(t, dir, 0)
	must(t, w.Append([]byte("kept"), noon))
	w.Drop(100, 3, noon)
	w.Drop(50, 2, noon.Add(time.Second))
	expect(t, walk(t, r), `0 "kept"`) // it may become longer yet
	must(t, w.Append([]byte("kept too"), noon))
	expect(t, walk(t, r), "4 gap 150", `154 "kept too"`)
	w.Drop(8, 0, noon)
	must(t, w.End())
	expect(t, walk(t, r), "162 gap 8", "170 end")
	w.Drop(10, 1, noon)
	must(t, w.Close())
	if tail, err := spool.Tail(dir, spool.Stdout); err != nil || tail != 180 {
		t.Errorf("tail %d, %v", tail, err)
	}
	w = openWriter(t, dir, 1000)
	must(t, w.Append([]byte("new"), noon))
	expect(t, walk(t, r), "170 gap 10", `180 "new"`)
	all := []string{"4 gap 150", `154 "kept too"`, "162 gap 8", "170 end", "170 gap 10", `180 "new"`}
	expect(t, walk(t, reader(t, dir, 4)), all...)
}

func TestReopenedWriterGoesOn(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		w := openWriter(t, dir, 1000)
		if w.Offset() != int64(2*i) {
			t.Fatalf("offset %d in life %d", w.Offset(), i)
		}
		must(t, w.Append([]byte("ab"), noon))
		must(t, w.Close())
		marks := filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(0, ".t"))
		f, err := os.OpenFile(marks, os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = f.WriteString("torn") // as a kill in between could leave it
		must(t, errors.Join(err, f.Close()))
	}
	expect(t, walk(t, reader(t, dir, 0)), `0 "ababababab"`)
	l, err := spool.List(spool.Dir(dir, spool.Stdout))
	if err != nil || len(l.Segments) != 1 {
		t.Errorf("%d segments, %v", len(l.Segments), err)
	}
}

func TestTimes(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 300)
	for i := range 200 {
		must(t, w.Append([]byte("xy"), noon.Add(time.Duration(i)*time.Second)))
	}
	r := reader(t, dir, 0)
	buf := make([]byte, 7)
	for {
		p, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		marks := r.Marks(nil, p)
		for i := range p.Data {
			at := p.Offset + int64(i)
			if len(marks) > 1 && marks[1].Offset == at {
				marks = marks[1:]
			}
			if want := noon.Add(time.Duration(at/2) * time.Second); !marks[0].Time.Equal(want) {
				t.Fatalf("byte %d is dated %v, want %v", at, marks[0].Time, want)
			}
		}
	}
}

func TestSplice(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 20)
	var fds [2]int
	must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	defer unix.Close(fds[0])
	if n, err := w.Splice(fds[0], 100, noon); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("empty pipe: %d, %v", n, err)
	}
	_, err := unix.Write(fds[1], []byte("0123456789abcdefghijklmnopqrst"))
	must(t, err)
	must(t, unix.Close(fds[1]))
	for _, want := range []int64{4, 16, 10, 0} {
		limit := int64(100)
		if want == 4 {
			limit = 4
		}
		if n, err := w.Splice(fds[0], limit, noon); err != nil || n != want {
			t.Errorf("spliced %d, %v, want %d", n, err, want)
		}
	}
	expect(t, walk(t, reader(t, dir, 0)), `0 "0123456789abcdefghij"`, `20 "klmnopqrst"`)
	if used, err := spool.Usage(dir); err != nil || used != w.Appended() {
		t.Errorf("usage %d, %v; appended %d", used, err, w.Appended())
	}
}

func TestCursor(t *testing.T) {
	dir := t.TempDir()
	if _, err := spool.LoadCursor(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no cursor: %v", err)
	}
	c := spool.Cursor{spool.Stdout: 1, spool.Stderr: 1 << 50, spool.Platform: 3}
	must(t, c.Store(dir))
	if got, err := spool.LoadCursor(dir); err != nil || got != c {
		t.Errorf("got %v, %v", got, err)
	}
	path := filepath.Join(dir, "cursor")
	b, err := os.ReadFile(path)
	must(t, err)
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1
		must(t, os.WriteFile(path, damaged, 0o600))
		if got, err := spool.LoadCursor(dir); !errdefs.IsDataLoss(err) {
			t.Errorf("%q gives %v, %v", damaged, got, err)
		}
	}
}

// TestTailRespectsCursor: after a power cut a segment may be shorter than what was delivered of it.
func TestTailRespectsCursor(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	must(t, w.Append([]byte("lost in a power cut"), noon))
	must(t, spool.Cursor{spool.Stdout: 12}.Store(dir))
	must(t, os.Truncate(filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(0, ".seg")), 5))
	w = openWriter(t, dir, 1000)
	must(t, w.Append([]byte("new"), noon))
	expect(t, walk(t, reader(t, dir, 0)), `0 "lost "`, "5 gap 7", `12 "new"`)
}

func TestTrimKeepsWhatIsAsked(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 10)
	for range 10 {
		must(t, w.Append([]byte("0123456789"), noon))
	}
	must(t, w.End())
	starts := func() []int64 {
		l, err := spool.List(spool.Dir(dir, spool.Stdout))
		must(t, err)
		return l.Segments
	}
	for _, step := range []struct {
		cursor, keep int64
		first        int64
	}{{0, 0, 0}, {55, 100, 0}, {55, 25, 30}, {55, 0, 50}, {100, 10, 90}, {100, 0, 90}} {
		must(t, spool.Trim(dir, spool.Cursor{spool.Stdout: step.cursor}, step.keep))
		if got := starts(); got[0] != step.first || got[len(got)-1] != 90 {
			t.Errorf("after %+v: %v", step, got)
		}
	}
	if _, clean, err := spool.First(dir, spool.Stdout); clean || err != nil {
		t.Errorf("a line begins where segments were cut off: %v, %v", clean, err)
	}
}

// TestTrimKeepsCountsToBeTold: a stream that begins with holes and ends of lives keeps what is known of them until the cursor
// is beyond.
func TestTrimKeepsCountsToBeTold(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	w.Drop(100, 3, noon)
	must(t, w.End())
	w.Drop(50, 2, noon)
	must(t, w.Append([]byte("kept"), noon))
	for _, step := range []struct {
		cursor     int64
		ends, lost []int64
	}{{0, []int64{100}, []int64{100, 150}}, {100, []int64{100}, []int64{100, 150}}, {101, nil, []int64{150}}, {154, nil, []int64{150}}} {
		must(t, spool.Trim(dir, spool.Cursor{spool.Stdout: step.cursor}, 0))
		l, err := spool.List(spool.Dir(dir, spool.Stdout))
		must(t, err)
		if !slices.Equal(l.Ends, step.ends) || !slices.Equal(l.Losses, step.lost) {
			t.Errorf("with the cursor at %d: ends %v, losses %v", step.cursor, l.Ends, l.Losses)
		}
	}
}

// TestHolesAreNotKept: the bytes that stay, or go, are those that are there.
func TestHolesAreNotKept(t *testing.T) {
	dir := t.TempDir()
	var cursor spool.Cursor
	for _, s := range spool.Streams {
		w, err := spool.OpenWriter(dir, s, 10)
		must(t, err)
		for range 3 {
			must(t, w.Append([]byte("0123456789"), noon))
		}
		w.Skip(spool.Lost{From: 30, Since: noon}, 30+1<<36)
		must(t, w.Append([]byte("new"), noon))
		must(t, w.Close())
		cursor[s] = w.Offset()
	}
	must(t, spool.Trim(dir, cursor, 79)) // of 99
	left := int64(0)
	for _, s := range spool.Streams {
		there, err := spool.Present(dir, s, 0)
		must(t, err)
		left += there
	}
	if left != 79 {
		t.Errorf("%d bytes are left", left)
	}
	if upTo, err := spool.Oldest(dir, cursor, 50); err != nil || upTo[spool.Platform] == 0 {
		t.Errorf("up to %v, %v", upTo, err)
	}
}

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	must(t, spool.Seal(dir, spool.Stdout))
	w := openWriter(t, dir, 100)
	must(t, w.Append([]byte("partial"), noon))
	must(t, w.Close())
	must(t, spool.Seal(dir, spool.Stdout))
	must(t, spool.Seal(dir, spool.Stdout))
	w = openWriter(t, dir, 100)
	must(t, w.Append([]byte("more"), noon))
	expect(t, walk(t, reader(t, dir, 0)), `0 "partial"`, "7 end", `7 "more"`)
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"01234567-89ab-cdef-0123-456789abcdef": true,
		"01234567-89AB-cdef-0123-456789abcdef": false,
		"../../../../../../../../../etc/passw": false,
		"0123456789abcdef0123456789abcdef0123": false,
		"":                                     false,
	} {
		if spool.ValidID(id) != want {
			t.Errorf("ValidID(%q) is %v", id, !want)
		}
	}
}
