package logging_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"
	ctrlog "github.com/containerd/log"

	"github.com/dynod/dynod/cmd/dynod/logging"
)

// pipe returns a file to log to and what reads its lines.
func pipe(t *testing.T) (*os.File, func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return w, lines(t, r)
}

func lines(t *testing.T, r *os.File) func() string {
	buffered := bufio.NewReader(r)
	return func() string {
		t.Helper()
		line, err := buffered.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
}

func TestJournal(t *testing.T) {
	out, line := pipe(t)
	log := logging.New(out, slog.LevelDebug, "journal").With("dyno", "d1").WithGroup("limits")
	for _, c := range []struct {
		level slog.Level
		want  string
	}{
		{slog.LevelDebug, "<7>"}, {slog.LevelInfo, "<6>"}, {slog.LevelWarn, "<4>"}, {slog.LevelError, "<3>"},
	} {
		log.Log(t.Context(), c.level, "two\nlines", "level", 3, "err", errors.New("no room"))
		want := c.want + `msg="two\nlines" dyno=d1 limits.level=3 limits.err="no room"` + "\n"
		if got := line(); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}

func TestLevel(t *testing.T) {
	for _, format := range []string{"journal", "text", "json"} {
		out, line := pipe(t)
		log := logging.New(out, slog.LevelWarn, format)
		log.Info("quiet")
		log.Warn("loud")
		if got := line(); !strings.Contains(got, "loud") {
			t.Errorf("%s: first line %q is below the level", format, got)
		}
	}
}

func TestAutoIsJSONInAPipe(t *testing.T) {
	out, line := pipe(t)
	logging.New(out, slog.LevelInfo, "auto").Info("hello", "n", 1)
	var record map[string]any
	if err := json.Unmarshal([]byte(line()), &record); err != nil || record["msg"] != "hello" {
		t.Errorf("record %v, %v", record, err)
	}
}

func TestAutoIsTextOnATerminal(t *testing.T) {
	terminal, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	out, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	logging.New(out, slog.LevelInfo, "auto").Info("hello")
	buf := make([]byte, 4096)
	n, err := terminal.Read(buf)
	if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, "time=") || !strings.Contains(got, "msg=hello") {
		t.Errorf("line %q, %v", got, err)
	}
}

func TestAutoIsJournalUnderSystemd(t *testing.T) {
	out, line := pipe(t)
	stderr := os.Stderr
	os.Stderr = out
	defer func() { os.Stderr = stderr }()
	var stat syscall.Stat_t
	if err := syscall.Fstat(2, &stat); err != nil { // journal.StderrIsJournalStream looks at descriptor 2
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))
	logging.New(out, slog.LevelInfo, "auto").Info("hello")
	if got, want := line(), "<6>msg=hello\n"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
}

func TestContainerdWritesThroughIt(t *testing.T) {
	out, line := pipe(t)
	defaultLog := slog.Default()
	defer slog.SetDefault(defaultLog)
	logging.Use(logging.New(out, slog.LevelInfo, "json"))
	ctrlog.L.WithField("snapshot", "s1").Warn("cleaning up")
	if got := line(); !strings.Contains(got, `"msg":"cleaning up"`) || !strings.Contains(got, `"snapshot":"s1"`) {
		t.Errorf("line %q", got)
	}
}
