package syslog_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/heroku/x/logplex/encoding"

	"github.com/dynod/dynod/logs/syslog"
)

var (
	noon   = time.Date(2026, 1, 2, 15, 4, 5, 678_901_234, time.FixedZone("", 3600))
	origin = syslog.Origin{Host: "h1.example", Process: "web.1"}
)

func TestFrames(t *testing.T) {
	for want, m := range map[string]syslog.Message{
		"76 <190>1 2026-01-02T14:04:05.678901+00:00 h1.example app web.1 - - hello\x00\xff 1": {Text: []byte("hello\x00\xff 1")},
		"68 <190>1 2026-01-02T14:04:05.678901+00:00 h1.example app web.1 - - ":                {},
		"72 <45>1 2026-01-02T14:04:05.678901+00:00 h1.example heroku web.1 - - up":            {Kind: syslog.Platform, Text: []byte("up")},
		"74 <134>1 2026-01-02T14:04:05.678901+00:00 h1.example heroku web.1 - - a=b":          {Kind: syslog.Metrics, Text: []byte("a=b")},
		"75 <172>1 2026-01-02T14:04:05.678901+00:00 h1.example heroku web.1 - - lost":         {Kind: syslog.Loss, Text: []byte("lost")},
	} {
		m.Time = noon
		b, _ := syslog.AppendFrames(nil, origin, m)
		got := string(b)
		count, frame, _ := strings.Cut(got, " ")
		if n, err := strconv.Atoi(count); err != nil || n != len(frame) {
			t.Errorf("count %s of %d bytes", count, len(frame))
		}
		_, wanted, _ := strings.Cut(want, " ")
		if frame != wanted {
			t.Errorf("got %q, want %q", frame, wanted)
		}
	}
}

func TestHeadersCannotBeForged(t *testing.T) {
	bad := syslog.Origin{Host: "a b\n<1>" + strings.Repeat("x", 300), Process: ""}
	b, _ := syslog.AppendFrames(nil, bad, syslog.Message{Time: noon})
	got := string(b)
	if want := " a?b?<1>" + strings.Repeat("x", 248) + " app - - - "; !strings.HasSuffix(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestKindOfPlatform(t *testing.T) {
	for text, want := range map[string]syslog.Kind{
		"source=web.1 dyno=heroku.1.2 sample#memory_total=21.00MB": syslog.Metrics,
		"source=web.1 nothing":                 syslog.Platform,
		"State changed from starting to up":    syslog.Platform,
		" source=web.1 sample#memory_total=21": syslog.Platform,
	} {
		if got := syslog.KindOfPlatform([]byte(text)); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// strict takes what AppendFrames may write and nothing else.
var strict = regexp.MustCompile(`^<(190|45|134|172)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00) ([!-~]{1,255}) (app|heroku) ([!-~]{1,128}) - - `)

// FuzzFrames has two messages in a row, each of any bytes: frames come out with those bytes. heroku/x and a strict
// reading agree, and what heroku/x makes of a frame it writes and reads as the same again.
func FuzzFrames(f *testing.F) {
	f.Add("h", "web.1", []byte("hello"), []byte("world"), uint8(0), int64(0))
	f.Add("", "\n", []byte("5 <190>1 - - - - -\n"), []byte("\x00\xff\x1b]0;\r\n"), uint8(1), int64(1767366245678901234))
	f.Add("a b", "é", bytes.Repeat([]byte("x"), 30_000), []byte{}, uint8(3), int64(-1))
	f.Fuzz(func(t *testing.T, host, process string, one, two []byte, kind uint8, nanos int64) {
		at := time.Unix(0, nanos)
		var b []byte
		var counts []int
		for _, text := range [][]byte{one, two} {
			var n int
			b, n = syslog.AppendFrames(b, syslog.Origin{Host: host, Process: process}, syslog.Message{Kind: syslog.Kind(kind % 4), Time: at, Text: text})
			counts = append(counts, n)
		}
		scanner := encoding.NewScanner(bytes.NewReader(b))
		for i, want := range [][]byte{one, two} {
			var text []byte
			for range counts[i] {
				var frame []byte
				frame, b = next(t, b)
				text = append(text, readBoth(t, frame, scanner, at)...)
			}
			if !bytes.Equal(text, want) || counts[i] > 1+len(want)/9_700 {
				t.Fatalf("%q in %d frames, want %q", text, counts[i], want)
			}
		}
		if len(b) > 0 || scanner.Scan() {
			t.Fatalf("%q follows", b)
		}
	})
}

// next takes one frame off.
func next(t *testing.T, b []byte) (frame, rest []byte) {
	t.Helper()
	count, after, _ := bytes.Cut(b, []byte(" "))
	n, err := strconv.Atoi(string(count))
	if err != nil || n > len(after) || len(count)+1+n > syslog.MaxFrame {
		t.Fatalf("count %q before %d bytes", count, len(after))
	}
	return after[:n], after[n:]
}

// readBoth reads a frame strictly and by heroku/x, which must agree, and gives its text.
func readBoth(t *testing.T, frame []byte, scanner encoding.Scanner, at time.Time) []byte {
	t.Helper()
	head := strict.FindSubmatch(frame)
	if head == nil {
		t.Fatalf("%q", frame)
	}
	text := frame[len(head[0]):]
	if said, err := time.Parse(time.RFC3339Nano, string(head[2])); err != nil || !said.Equal(at.Truncate(time.Microsecond)) && at.UnixNano() >= 0 {
		t.Fatalf("time %s, want %s", said, at)
	}
	if !scanner.Scan() {
		t.Fatalf("heroku/x: %v", scanner.Err())
	}
	m := scanner.Message()
	if m.Message != string(text) || m.Hostname != string(head[3]) || m.Process != string(head[5]) {
		t.Fatalf("heroku/x reads %+v", m)
	}
	if err := roundTrip(m); err != nil {
		t.Fatal(err)
	}
	return text
}

// roundTrip has heroku/x write a message, with structured data, and read it again.
func roundTrip(m encoding.Message) error {
	m.RFCCompliant = true
	b, err := encoding.Encode(m)
	if err != nil {
		return err
	}
	again := encoding.NewScanner(bytes.NewReader(b))
	if !again.Scan() {
		return fmt.Errorf("%q is not read again: %w", b, again.Err())
	}
	got := again.Message()
	if got.RFCCompliant = true; !cmp.Equal(m, got) {
		return fmt.Errorf("%+v comes back as %+v", m, got)
	}
	return nil
}
