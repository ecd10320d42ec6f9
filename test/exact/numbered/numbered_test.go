package numbered_test

import (
	"bytes"
	"testing"

	"github.com/dynod/dynod/test/exact/numbered"
)

// A reader gives the same bytes as were said, however both divide them, and counts them alike.
func TestReaderGivesTheStream(t *testing.T) {
	s, r := numbered.New(7), numbered.NewReader(7)
	var said []byte
	for range 1000 {
		line := s.Next(nil)
		if bytes.Count(line, []byte{'\n'}) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("line %q", line)
		}
		s.Said(line)
		said = append(said, line...)
	}
	if n := r.Match(said[:12_345]); n != 12_345 {
		t.Errorf("byte %d differs", n)
	}
	r.Skip(1)
	wrong := bytes.Clone(said[12_346:])
	wrong[50_000] ^= 1
	if n := r.Match(wrong); n != 50_000 {
		t.Errorf("%d bytes are the same", n)
	}
	if r.Count() != s.Count() {
		t.Errorf("read %+v, said %+v", r.Count(), s.Count())
	}
	if other := numbered.NewReader(8); other.Match(said[:1000]) > 10 {
		t.Error("another seed says the same")
	}
}
