package systemd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/systemd"
)

// activated makes the test binary the service: it greets one client on the listener "api".
const activated = "SYSTEMD_TEST_ACTIVATED"

func TestMain(m *testing.M) {
	if os.Getenv(activated) == "" {
		os.Exit(m.Run())
	}
	if err := greet(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func greet() error {
	listeners, err := systemd.Listeners()
	if err != nil {
		return err
	}
	if again, err := systemd.Listeners(); len(again) != 0 || err != nil {
		return fmt.Errorf("second call: %d listeners: %w", len(again), err)
	}
	if listeners["api"] == nil {
		return fmt.Errorf("no listener api among %d", len(listeners))
	}
	conn, err := listeners["api"].Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "hello\n")
	return err
}

// service starts the test binary with files at descriptor 3 and up, as a service manager does.
func service(t *testing.T, names string, files ...*os.File) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, self)
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), activated+"=1", "LISTEN_FDNAMES="+names, fmt.Sprintf("LISTEN_FDS=%d", len(files)))
	return cmd
}

func listenUnix(t *testing.T) (path string, file *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "api.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if file, err = l.File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return path, file
}

func TestListenersServe(t *testing.T) {
	path, file := listenUnix(t)
	cmd := service(t, "api", file)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if line != "hello\n" {
		t.Errorf("service said %q, %v", line, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("service: %v: %s", err, &out)
	}
}

func TestListenersRefuse(t *testing.T) {
	_, socket := listenUnix(t)
	plain, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	for _, c := range []struct {
		name, names, want string
		files             []*os.File
	}{
		{"no socket", "api", `take over socket "api"`, []*os.File{plain}},
		{"name twice", "api:api", `take over socket "api": name given twice`, []*os.File{socket, socket}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := service(t, c.names, c.files...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("service: %v, said %q, want %q", err, out, c.want)
			}
		})
	}
}

func TestNoListeners(t *testing.T) {
	if l, err := systemd.Listeners(); len(l) != 0 || err != nil {
		t.Errorf("without a service manager: %v, %v", l, err)
	}
}
