package main_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func line(stream dynodv1.LogStream, size int64, text string) *dynodv1.LogLine {
	return &dynodv1.LogLine{Stream: stream, Size: size, Time: morning, Text: []byte(text)}
}

// wildLines are lines of an app that tries to steer the reader's terminal.
func wildLines() []*dynodv1.LogLine {
	lost := line(dynodv1.LogStream_LOG_STREAM_STDERR, 5, "oops")
	lost.LostBytes, lost.LostLines = 17, 2
	only := line(dynodv1.LogStream_LOG_STREAM_STDOUT, 0, "")
	only.LostBytes = 18
	return []*dynodv1.LogLine{
		line(dynodv1.LogStream_LOG_STREAM_PLATFORM, 38, "State changed from starting to up"),
		line(dynodv1.LogStream_LOG_STREAM_STDOUT, 7, "hel\tlo"),
		lost,
		only,
		line(dynodv1.LogStream_LOG_STREAM_STDOUT, 16, "\x1b]0;x\a\r\xff\xc2\x9b é\u202e\ufffd"),
		line(dynodv1.LogStream_LOG_STREAM_STDOUT, 3, "cut"),
		line(dynodv1.LogStream_LOG_STREAM_STDOUT, 4, " off"),
		line(dynodv1.LogStream_LOG_STREAM_STDOUT, 3, "\xe9t"),
	}
}

const stampText = "2026-01-02T15:04:05.678901+00:00 "

func TestLogs(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.lines = wildLines() })
	want(t, run(t, a, "", "logs", "web.1"), 0, ""+
		stampText+"heroku[web.1]: State changed from starting to up\n"+
		stampText+"app[web.1]: hel\tlo\n"+
		stampText+"dynod[web.1]: 2 lines, 17 bytes of stderr were dropped here\n"+
		stampText+"app[web.1]: oops\n"+
		stampText+"dynod[web.1]: part of stdout is missing here: at most 18 bytes, how many lines is not known\n"+
		stampText+"app[web.1]: \x1b]0;x\a\r\xff\xc2\x9b é\u202e\ufffd\n"+
		stampText+"app[web.1]: cut\n"+
		stampText+"app[web.1]:  off\n"+
		stampText+"app[web.1]: \xe9t\n", "")
	want(t, run(t, a, "", "logs", "web.1", "--raw"), 0,
		"State changed from starting to up\nhel\tlo\noops\n\x1b]0;x\a\r\xff\xc2\x9b é\u202e\ufffdcut off\xe9t\n",
		"dynoctl: 2 lines, 17 bytes of stderr were dropped here\n"+
			"dynoctl: part of stdout is missing here: at most 18 bytes, how many lines is not known\n")
	a.change(func(w *world) { w.lines = w.lines[2:3] })
	want(t, run(t, a, "", "logs", "web.1", "-o", "json"), 0, `{"stream":"LOG_STREAM_STDERR","offset":"0","size":"5",`+
		`"time":"2026-01-02T15:04:05.678901Z","text":"b29wcw==","continued":false,"lostBytes":"17","lostLines":"2","lostSince":null}`+"\n", "")
}

func TestLogsAsks(t *testing.T) {
	a := newAgent(t)
	run(t, a, "", "logs", webID, "-n", "0", "--since", "2026-01-02T15:04:05.678901Z", "--stream", "stderr", "--stream", "platform")
	run(t, a, "", "logs", webID)
	wantOrders(t, a,
		&dynodv1.StreamLogsRequest{
			DynoId: webID, Tail: proto.Uint32(0), Since: morning,
			Streams: []dynodv1.LogStream{dynodv1.LogStream_LOG_STREAM_STDERR, dynodv1.LogStream_LOG_STREAM_PLATFORM},
		},
		&dynodv1.StreamLogsRequest{DynoId: webID})
	for _, bad := range [][]string{
		{"--since", "-5m"},
		{"--stream", "x"},
		{"-n", "4294967296"},
		{"--source", "x"},
		{"--source", "app", "--stream", "stdout"},
		{"--tail=x"},
		{"--tail", "x"},
		{"--tail=4294967296"},
		{"web.2"},
		{"--tail", "1", "2"},
	} {
		if got := run(t, a, "", append([]string{"logs", webID}, bad...)...); got.code != 2 || got.out != "" {
			t.Errorf("%s: got %+v", bad, got)
		}
	}
}

// TestLogsInHerokusWords has the flags of heroku logs and of docker logs mean what they mean there.
func TestLogsInHerokusWords(t *testing.T) {
	a := newAgent(t)
	app := []dynodv1.LogStream{dynodv1.LogStream_LOG_STREAM_STDOUT, dynodv1.LogStream_LOG_STREAM_STDERR}
	heroku := []dynodv1.LogStream{dynodv1.LogStream_LOG_STREAM_PLATFORM}
	var want []proto.Message
	for _, c := range []struct {
		flags []string
		want  *dynodv1.StreamLogsRequest
	}{
		{[]string{"--num", "7", "--source", "app"}, &dynodv1.StreamLogsRequest{Tail: proto.Uint32(7), Streams: app}},
		{[]string{"-s", "heroku", "-n7"}, &dynodv1.StreamLogsRequest{Tail: proto.Uint32(7), Streams: heroku}},
		{[]string{"--tail"}, &dynodv1.StreamLogsRequest{Follow: true}},
		{[]string{"-t", "-n", "7"}, &dynodv1.StreamLogsRequest{Follow: true, Tail: proto.Uint32(7)}},
		{[]string{"--tail=7"}, &dynodv1.StreamLogsRequest{Tail: proto.Uint32(7)}},
		{[]string{"-f", "--tail", "7"}, &dynodv1.StreamLogsRequest{Follow: true, Tail: proto.Uint32(7)}},
		{[]string{"-f"}, &dynodv1.StreamLogsRequest{Follow: true}},
	} {
		run(t, a, "", append([]string{"logs", webID}, c.flags...)...)
		c.want.DynoId = webID
		want = append(want, c.want)
	}
	wantOrders(t, a, want...)
}

// TestFollowGoesOn has the agent leave twice while a log is followed, and its last successor not know the dyno.
func TestFollowGoesOn(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.lines = []*dynodv1.LogLine{line(dynodv1.LogStream_LOG_STREAM_STDOUT, 4, "one"), line(dynodv1.LogStream_LOG_STREAM_STDERR, 4, "two")}
		w.lines[0].Offset, w.lines[1].Offset = 100, 200
		w.leaves = []string{"leave", "forget"}
	})
	before := time.Now()
	got := run(t, a, "", "logs", "-f", "-n", "2", webID)
	if got.code != 0 || strings.Count(got.out, "one") != 2 || strings.Count(got.errOut, "dynoctl: the agent is away; waiting for it\n") != 2 {
		t.Errorf("got %+v", got)
	}
	asked := a.orders()
	if len(asked) != 3 {
		t.Fatalf("asked %v", asked)
	}
	for _, m := range asked[1:] {
		again, _ := m.(*dynodv1.StreamLogsRequest)
		if after := again.GetAfter(); again.Tail != nil || again.GetSince().AsTime().Before(before) || len(after) != 2 ||
			after[0].GetOffset() != 104 || after[1].GetOffset() != 204 || after[0].GetStream() != dynodv1.LogStream_LOG_STREAM_STDOUT {
			t.Errorf("asked %v", again)
		}
	}
}

func TestLogsSinceDuration(t *testing.T) {
	a := newAgent(t)
	before := time.Now().Add(-5 * time.Minute)
	run(t, a, "", "logs", webID, "--since", "5m")
	var since *timestamppb.Timestamp
	if asked, ok := a.orders()[0].(*dynodv1.StreamLogsRequest); ok {
		since = asked.GetSince()
	}
	if d := since.AsTime().Sub(before); d < 0 || d > time.Minute {
		t.Errorf("got %v, which is %v off", since, d)
	}
}

// TestFollow ends followers as a user does.
func TestFollow(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.lines, w.stay = wildLines()[1:2], true })
	for _, args := range [][]string{{"logs", "-f", "web.1"}, {"events"}} {
		cmd := exec.CommandContext(t.Context(), dynoctl, append(args, "--socket", a.socket)...)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Errorf("%q: first line: %v", args, err)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || errOut.Len() != 0 {
			t.Errorf("%q: interrupted: %v %q, want a quiet end with 0", args, err, errOut.String())
		}
	}
}

func TestEvents(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.dynos = w.dynos[1:2]
		w.dynos[0].PhaseSince = morning
		crashed := changed(dynodv1.Phase_PHASE_CRASHED, 1)
		crashed.GetChanged().PhaseSince = morning
		w.news = []*dynodv1.WatchDynosResponse{crashed, {Event: &dynodv1.WatchDynosResponse_Forgotten{Forgotten: webID}}}
	})
	got := run(t, a, "", "events")
	lines := strings.SplitAfter(got.out, "\n")
	if len(lines) != 4 || got.code != 3 ||
		lines[0] != "2026-01-02T15:04:05Z 1b671a64 shop/web.1 up\n" ||
		lines[1] != "2026-01-02T15:04:05Z 1b671a64 shop/web.1 crashed (as told) exit 1\n" ||
		!strings.HasSuffix(lines[2], "Z 1b671a64 forgotten\n") {
		t.Errorf("got %q, %+v", lines, got)
	}
	got = run(t, a, "", "events", "-o", "json")
	lines = strings.SplitAfter(got.out, "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], `{"snapshot":{"dynos":[{"id":"`+webID) || lines[2] != `{"forgotten":"`+webID+`"}`+"\n" {
		t.Errorf("got %q", lines)
	}
}

func TestLogsOnTerminal(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.lines = wildLines() })
	plain := onTerminal(t, a, []string{"NO_COLOR=1"}, "logs", "web.1")
	wild := stampText + `app[web.1]: \x1b]0;x\a\r\xff\u009b é\u202e` + "\ufffd\r\n"
	if !strings.Contains(plain, wild) || !strings.Contains(plain, `app[web.1]: \xe9t`) || strings.Contains(plain, "\x1b") {
		t.Errorf("got %q, want %q in it and nothing unescaped", plain, wild)
	}
	coloured := onTerminal(t, a, []string{"NO_COLOR=", "TERM=xterm"}, "logs", "web.1")
	if n := strings.Count(coloured, "\x1b["); n != 2*len(strings.Split(strings.TrimSpace(coloured), "\n")) {
		t.Errorf("got %d colour codes in %q, want two in each line", n, coloured)
	}
	colours := map[string]string{} // by process
	for line := range strings.Lines(coloured) {
		colour, rest, _ := strings.Cut(line, stampText)
		process, _, _ := strings.Cut(rest, ":")
		if before, known := colours[process]; known && before != colour {
			t.Errorf("%s has the colours %q and %q", process, before, colour)
		}
		colours[process] = colour
	}
	if colours["app[web.1]"] == colours["heroku[web.1]"] {
		t.Errorf("one colour for two processes: %q", colours)
	}
}

// onTerminal gives what dynoctl writes to a terminal.
func onTerminal(t *testing.T, a *agent, env []string, args ...string) string {
	t.Helper()
	pty, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	terminal, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), dynoctl, append(args, "--socket", a.socket)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = terminal, terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()            // else its end never comes
	out, readErr := io.ReadAll(pty) // EIO when the last writer is gone
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if readErr == nil {
		t.Log("pty ended without an error")
	}
	return string(out)
}
