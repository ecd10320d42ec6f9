package capture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// TestMain also plays the captures that the tests kill, "capture <configuration>", and dynos, "talk <counters>" and "hold".
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "hold" {
		playHolder()
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "talk" {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
		if err := shared(os.Args[2]).talk(1); err != nil {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "capture" {
		runCapture(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

func runCapture(config string) {
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // nothing stays of an interrupted test
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var cfg capture.Config
	err := json.Unmarshal([]byte(config), &cfg)
	for _, f := range activation.Files(true) {
		cfg.Kept = append(cfg.Kept, capture.Kept{Name: f.Name(), FD: int(f.Fd())})
	}
	if err == nil {
		err = capture.Run(ctx, cfg, nil, log)
	}
	if err != nil {
		log.Error("capture ended", "error", err)
		os.Exit(1)
	}
}

// process is a capture that can be killed.
type process struct {
	*server
	cmd *exec.Cmd
}

// spawn starts a capture of its own process, which finds the descriptors in the store of the manager, if there is one.
func spawn(t testing.TB, cfg capture.Config, m *manager) *process {
	t.Helper()
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{server: &server{t: t, cfg: cfg}}
	// LISTEN_PID is the process that is to take the descriptors: only the shell knows it before.
	p.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0], "capture", string(b))
	p.cmd.Stderr = os.Stderr
	if m != nil {
		var names []string
		for name, f := range m.stored() {
			names, p.cmd.ExtraFiles = append(names, name), append(p.cmd.ExtraFiles, f)
		}
		p.cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// wound kills it without waiting until it is dead. It cannot be while a write of it hangs.
func (p *process) wound() { _ = p.cmd.Process.Kill() }

// manager stands for systemd: it keeps descriptors for a capture that comes back.
type manager struct {
	t      testing.TB
	conn   *net.UnixConn
	socket string
	files  map[string]*os.File
}

func newManager(t testing.TB) *manager {
	m := &manager{t: t, socket: filepath.Join(t.TempDir(), "notify"), files: map[string]*os.File{}}
	var err error
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.socket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.conn.Close()
		for _, f := range m.files {
			_ = f.Close()
		}
	})
	return m
}

// stored takes in what was said up to now and gives the descriptors by name.
func (m *manager) stored() map[string]*os.File {
	m.t.Helper()
	buf, oob := make([]byte, 4096), make([]byte, 1024)
	for {
		// What was sent by a process that is dead is there already.
		_ = m.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, oobn, _, _, err := m.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return m.files
		}
		m.take(string(buf[:n]), oob[:oobn])
	}
}

func (m *manager) take(text string, oob []byte) {
	said := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		said[name] = value
	}
	name := said["FDNAME"]
	switch {
	case said["FDSTOREREMOVE"] == "1":
		if f := m.files[name]; f != nil {
			_ = f.Close()
		}
		delete(m.files, name)
	case said["FDSTORE"] == "1" && said["FDPOLL"] == "0" && m.files[name] == nil:
		messages, err := unix.ParseSocketControlMessage(oob)
		if err != nil || len(messages) != 1 {
			m.t.Fatalf("descriptors of %q: %v", text, err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			m.t.Fatalf("descriptors of %q: %v, %v", text, fds, err)
		}
		unix.CloseOnExec(fds[0])
		m.files[name] = os.NewFile(uintptr(fds[0]), name)
	default:
		m.t.Errorf("the manager cannot take %q", text)
	}
}

// stream is what a reader finds in the spool of one stream.
type stream struct {
	data  []byte
	lost  int64
	lines int64 // lost
	ends  int
}

func readStream(t testing.TB, spoolDir, id string, s spool.Stream) (got stream) {
	t.Helper()
	r := spool.NewReader(spool.Dir(filepath.Join(spoolDir, id), s), 0)
	defer r.Close()
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		p, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil || p.Offset != at {
			t.Fatalf("at %d: %+v, %v", at, p, err)
		}
		got.data = append(got.data, p.Data...)
		got.lost += p.Lost
		got.lines += p.Lines
		if p.Kind == spool.End {
			got.ends++
		}
		if p.Kind == spool.Gap && p.Lines > 0 && p.Since.IsZero() {
			t.Errorf("a gap without time: %+v", p)
		}
		at += int64(len(p.Data)) + p.Lost
	}
}
