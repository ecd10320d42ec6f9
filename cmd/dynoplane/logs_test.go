package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const id = "1b671a64-40d5-491e-99b0-da01ff1f3341"

var morning = timestamppb.New(time.Date(2026, 1, 2, 15, 4, 5, 678901234, time.UTC))

// out is a line of standard output with its newline.
func out(offset int64, text string) *dynodv1.LogRun {
	return &dynodv1.LogRun{
		Stream: dynodv1.LogStream_LOG_STREAM_STDOUT, Offset: offset, Time: morning, Text: []byte(text + "\n"),
	}
}

func lost(r *dynodv1.LogRun, n int64) *dynodv1.LogRun {
	r.LostBytes = n
	return r
}

func wantOffset(t *testing.T, got, want int64) {
	t.Helper()
	if got != want {
		t.Errorf("acknowledged %d, want %d", got, want)
	}
}

func (p *plane) logFile() string { return filepath.Join(p.data, "logs", id+".log") }

// wantLog checks the dyno's log file; each line stands without the time, which all lines share.
func (p *plane) wantLog(lines ...string) {
	p.t.Helper()
	data, err := os.ReadFile(p.logFile())
	if err != nil {
		p.t.Fatal(err)
	}
	want := strings.Join(lines, "\n") + "\n"
	got := strings.ReplaceAll(string(data), " 2026-01-02T15:04:05.678901234Z ", " ")
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("log file (-want +got):\n%s", diff)
	}
}

func (p *plane) wantStats(want map[string]int64) {
	p.t.Helper()
	got := p.stats()
	for name, n := range got {
		if want[name] != n {
			p.t.Errorf("counter %s: got %d, want %d", name, n, want[name])
		}
	}
	if len(got) != 9 {
		p.t.Errorf("got counters %v, want 9 of them", got)
	}
}

func TestLogsAreKeptOnce(t *testing.T) {
	p := startPlane(t, t.TempDir())
	first := p.ship()
	wantOffset(t, first.send(id, out(0, "one"), out(4, "\xff\x00 \"two\"\u202e")), 16)
	wantOffset(t, first.send(id, out(0, "one"), out(4, "\xff\x00 \"two\"\u202e"), out(16, "three")), 22)
	// A second connection, as after the agent's restart: the newest batch again, and more.
	second := p.ship()
	wantOffset(t, second.send(id, out(16, "three")), 22)
	wantOffset(t, second.send(id, out(22, "four")), 27)
	wantOffset(t, first.send(id, out(0, "one")), 27) // the half-open first one wakes up
	p.wantLog(
		`stdout 0 4 0 "one"`,
		`stdout 4 12 0 "\xff\x00 \"two\"\u202e"`,
		`stdout 16 6 0 "three"`,
		`stdout 22 5 0 "four"`)
	p.wantStats(map[string]int64{"batches": 5, "lines": 4, "bytes": 27, "duplicate_lines": 4, "duplicate_bytes": 26})
}

// TestRuns has several lines in a run, each with its own time, and the run again with more.
func TestRuns(t *testing.T) {
	p := startPlane(t, t.TempDir())
	s := p.ship()
	run := func() *dynodv1.LogRun {
		r := out(0, "one\n\nthree")
		r.LaterAt, r.LaterNanos = []uint32{4, 7}, []int64{1, 2}
		return r
	}
	wantOffset(t, s.send(id, run()), 11)
	more := run()
	more.Text = append(more.Text, "no newline"...)
	wantOffset(t, s.send(id, more), 21)
	data, err := os.ReadFile(p.logFile())
	if err != nil {
		t.Fatal(err)
	}
	const day = "2026-01-02T15:04:05."
	want := "stdout 0 4 0 " + day + `678901234Z "one"` + "\n" +
		"stdout 4 1 0 " + day + `678901235Z ""` + "\n" +
		"stdout 5 6 0 " + day + `678901235Z "three"` + "\n" +
		"stdout 11 10 0 " + day + `678901236Z "no newline"` + "\n"
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("log file (-want +got):\n%s", diff)
	}
}

func TestStreamsAreSeparate(t *testing.T) {
	p := startPlane(t, t.TempDir())
	s := p.ship()
	platform := out(0, "State changed")
	platform.Stream = dynodv1.LogStream_LOG_STREAM_PLATFORM
	stderr := out(0, "e")
	stderr.Stream = dynodv1.LogStream_LOG_STREAM_STDERR
	answer, err := s.try(id, platform, out(0, "o"), stderr)
	if err != nil {
		t.Fatal(err)
	}
	got := map[dynodv1.LogStream]int64{}
	for _, c := range answer.GetDelivered() {
		got[c.GetStream()] = c.GetOffset()
	}
	want := map[dynodv1.LogStream]int64{1: 2, 2: 2, 3: 14}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	p.wantLog(`platform 0 14 0 "State changed"`, `stdout 0 2 0 "o"`, `stderr 0 2 0 "e"`)
}

func TestHolesAndOverlaps(t *testing.T) {
	p := startPlane(t, t.TempDir())
	s := p.ship()
	wantOffset(t, s.send(id, out(0, "one")), 4)
	wantOffset(t, s.send(id, lost(out(14, "told"), 10)), 19)
	wantOffset(t, s.send(id, lost(out(14, "told"), 10)), 19)     // told twice, counted once
	wantOffset(t, s.send(id, out(24, "untold")), 31)             // 5 missing
	wantOffset(t, s.send(id, lost(out(41, "half told"), 6)), 51) // 4 missing, 6 told
	wantOffset(t, s.send(id, out(41, "half told, cut anew")), 61)
	newline := out(60, "") // ends where everything is known
	wantOffset(t, s.send(id, newline), 61)
	wantOffset(t, s.send(id, lost(out(61+1<<36, "after a power cut"), 1<<36)), 79+1<<36)
	p.wantLog(
		`stdout 0 4 0 "one"`,
		`stdout 14 5 10 "told"`,
		`stdout 24 7 0 "untold"`,
		`stdout 41 10 6 "half told"`,
		`stdout 51 10 0 " cut anew"`,
		`stdout 68719476797 18 68719476736 "after a power cut"`)
	p.wantStats(map[string]int64{
		"batches": 8, "lines": 6, "bytes": 54, "duplicate_lines": 2, "duplicate_bytes": 16,
		"lost_bytes": 16, "gaps": 2, "gap_bytes": 9,
	})
}

// A loss at the end of a stream comes as a line of no bytes: it is counted, and moves the cursor.
func TestLossAtTheEndOfAStream(t *testing.T) {
	p := startPlane(t, t.TempDir())
	s := p.ship()
	notice := &dynodv1.LogRun{Stream: 1, Offset: 105, LostBytes: 100, Time: morning}
	for range 2 {
		if got, err := s.try(id, out(0, "good"), notice); err != nil || got.GetDelivered()[0].GetOffset() != 105 {
			t.Fatalf("got %v, %v", got, err)
		}
	}
}

func TestWrongLinesAreRefused(t *testing.T) {
	p := startPlane(t, t.TempDir())
	for name, c := range map[string]struct {
		id  string
		run *dynodv1.LogRun
	}{
		"id is a path":         {"../../../../../../etc/x0000000000000", out(0, "x")},
		"id in capitals":       {strings.ToUpper(id), out(0, "x")},
		"no stream":            {id, &dynodv1.LogRun{Text: []byte("x")}},
		"negative offset":      {id, out(-1, "x")},
		"nothing":              {id, &dynodv1.LogRun{Stream: 1}},
		"beyond the last byte": {id, out(1<<63-2, "x")},
		"lost before 0":        {id, lost(out(4, "x"), 5)},
		"negative loss":        {id, lost(out(4, "x"), -1)},
		"times without places": {id, &dynodv1.LogRun{Stream: 1, Text: []byte("x"), LaterNanos: []int64{1}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := p.ship()
			s.t = t
			// A good line before the wrong one is not kept either.
			if _, err := s.try(c.id, out(0, "good"), c.run); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
		})
	}
	if entries, err := os.ReadDir(filepath.Join(p.data, "logs")); err != nil || len(entries) != 0 {
		t.Errorf("got files %v, %v, want none", entries, err)
	}
}

// TestRestartInTheMiddle kills the plane again and again while an agent ships, and resends as an agent does: from the
// newest acknowledged position.
func TestRestartInTheMiddle(t *testing.T) {
	const lines, kills = 4000, 8
	var all []*dynodv1.LogRun
	var offset int64
	for i := range lines {
		l := out(offset, "seq="+strconv.Itoa(i))
		all, offset = append(all, l), offset+int64(len(l.GetText()))
	}
	data := t.TempDir()
	acknowledged := 0
	for range kills {
		p := startPlane(t, data)
		acknowledged += p.shipUntilKilled(all[acknowledged:])
		tearTail(t, p.logFile())
	}
	if acknowledged == lines {
		t.Fatal("everything was acknowledged before the last kill: the test shows nothing")
	}
	p := startPlane(t, data)
	wantOffset(t, p.ship().send(id, all[acknowledged:]...), offset)
	var want []string
	for i, l := range all {
		want = append(want, fmt.Sprintf(`stdout %d %d 0 "seq=%d"`, l.GetOffset(), len(l.GetText()), i))
	}
	p.wantLog(want...)
	if got := p.stats()["gaps"]; got != 0 {
		t.Errorf("got %d gaps, want none", got)
	}
}

// shipUntilKilled ships in small batches, kills the plane while one is under way, and tells how many lines were
// acknowledged.
func (p *plane) shipUntilKilled(lines []*dynodv1.LogRun) int {
	p.t.Helper()
	s, acknowledged := p.ship(), 0
	for {
		if s.batch == 40 {
			go p.cmd.Process.Kill() //nolint:errcheck // Wait tells
		}
		answer, err := s.try(id, lines[acknowledged:min(acknowledged+7, len(lines))]...)
		if err != nil {
			_ = p.cmd.Wait()
			return acknowledged
		}
		for acknowledged < len(lines) && lines[acknowledged].GetOffset() < answer.GetDelivered()[0].GetOffset() {
			acknowledged++
		}
	}
}

// tearTail leaves what a write leaves that was not finished.
func tearTail(t *testing.T, name string) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("stdout 999999 10 0 2026-01-"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNotWrittenNotAcknowledged(t *testing.T) {
	p := startPlane(t, t.TempDir())
	if err := os.Mkdir(p.logFile(), 0o700); err != nil { // in the way, as a full disk would be
		t.Fatal(err)
	}
	if answer, err := p.ship().try(id, out(0, "one")); status.Code(err) != codes.Internal {
		t.Errorf("got %v, %v, want Internal", answer, err)
	}
	if err := os.Remove(p.logFile()); err != nil {
		t.Fatal(err)
	}
	wantOffset(t, p.ship().send(id, out(0, "one")), 4)
	p.wantLog(`stdout 0 4 0 "one"`)
	p.wantStats(map[string]int64{"batches": 1, "lines": 1, "bytes": 4})
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	p := startPlane(t, t.TempDir(), "--listen", socket, "--insecure")
	p.end(syscall.SIGKILL)
	p = startPlane(t, p.data, "--listen", socket, "--insecure") // over the socket that the first one left
	stream, err := dial(t, "unix://"+p.address, transport.DialOptions{}).ShipLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantOffset(t, (&shipping{t: t, stream: stream}).send(id, out(0, "x")), 2)
}

func TestCertificateRefused(t *testing.T) {
	p := startPlane(t, t.TempDir())
	config, err := transport.ClientTLS(files("plane"), "plane") // not on the list
	if err != nil {
		t.Fatal(err)
	}
	stream, err := dial(t, p.address, transport.DialOptions{TLS: config}).ShipLogs(t.Context())
	if err == nil {
		_, err = (&shipping{t: t, stream: stream}).try(id, out(0, "x"))
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want no connection", err)
	}
	if _, err := os.Stat(p.logFile()); !os.IsNotExist(err) {
		t.Errorf("log file: got %v, want none", err)
	}
}
