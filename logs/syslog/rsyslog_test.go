package syslog_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynod/dynod/logs/syslog"
	"github.com/dynod/dynod/test/root"
)

const rsyslogConfig = `
global(workDirectory="%[1]s" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriverCAFile="%[2]s" defaultNetstreamDriverCertFile="%[2]s" defaultNetstreamDriverKeyFile="%[3]s")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" address="127.0.0.1" port="%[4]d" ruleset="all")
template(name="line" type="string" string="%%pri%% %%timestamp:::date-rfc3339%% %%hostname%% %%app-name%% %%procid%% %%msg%%\n")
ruleset(name="all") { action(type="omfile" file="%[1]s/received" template="line" flushOnTXEnd="on") }
`

// rsyslog starts Debian's rsyslogd as a private process, and gives its URL and the file of what it receives.
func rsyslog(t *testing.T, cert, key string) (address, received string) {
	t.Helper()
	root.Needed(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, rsyslogConfig, dir, cert, key, port), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("/usr/sbin/rsyslogd", "-n", "-f", config, "-i", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	await(t, "rsyslogd", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return fmt.Sprintf("syslog+tls://localhost:%d", port), filepath.Join(dir, "received")
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestRsyslog has a real receiver read what is sent: the same lines, as many, in order, with whatever bytes in them.
func TestRsyslog(t *testing.T) {
	cert, key := authority(t)
	address, received := rsyslog(t, cert, key)
	s := sender(t, dialer(t, cert), address)
	var want strings.Builder
	for batch := range 5 {
		var frames []byte
		for i := range 500 {
			text := fmt.Sprintf("%d of %d: 9 <190>1 - - é\x1b[31m\t\xff%s", i, batch, strings.Repeat("x", i*20))
			frames, _ = syslog.AppendFrames(frames, origin, syslog.Message{Time: noon, Text: []byte(text)})
			fmt.Fprintf(&want, "190 2026-01-02T14:04:05.678901+00:00 h1.example app web.1 %s\n", text)
		}
		if err := s.Send(limited(t), frames); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	await(t, "2500 lines", func() bool {
		got, _ = os.ReadFile(received)
		return bytes.Count(got, []byte("\n")) >= 2500
	})
	if string(got) != want.String() {
		at := 0
		for at < len(got) && got[at] == want.String()[at] {
			at++
		}
		t.Errorf("received %d bytes of %d, different at %d: %.200q, want %.200q", len(got), want.Len(), at, got[at:], want.String()[at:])
	}
}
