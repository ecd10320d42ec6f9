package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	main "github.com/dynod/dynod/cmd/dynod"
)

// dynod is the built binary.
var dynod string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dynod-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	dynod = filepath.Join(dir, "dynod")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v1.2.3-test", "-o", dynod, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build dynod: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// run starts dynod with a deadline and returns its status, standard output and standard error.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := command(ctx, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// command keeps the machine's own settings out: no file in /etc, no variable of dynod.
func command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, dynod, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "DYNOD_CONFIG=/dev/null"}, env...)
	return cmd
}

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(bad, []byte("host_nam = \"x\"\n\n[network]\nblock = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := onDisk(t)
	for _, c := range []struct {
		name   string
		env    []string
		args   []string
		code   int
		stderr string
	}{
		{"good", nil, []string{"config", "check"}, 0, ""},
		{"flags before the verb", nil, []string{"--defaults.port=6000", "config", "check"}, 0, ""},
		{
			"bad file", nil,
			[]string{"config", "check", "--config", bad},
			78,
			"dynod: " + bad + ":1:1: unknown key \"host_nam\"; did you mean \"host_name\"?\n" +
				"dynod: " + bad + ":4:1: network.block = 3: must be written as a string in quotes\n",
		},
		{"bad file, agent", nil, []string{"--config", bad}, 78, ""},
		{"bad file, capture", nil, []string{"capture", "--config", bad}, 78, ""},
		{
			"missing file", nil,
			[]string{"config", "check", "--config", "/nonexistent/c.toml"},
			78,
			"dynod: open /nonexistent/c.toml: no such file or directory\n",
		},
		{
			"bad variable",
			[]string{"DYNOD_LOG_LEVEL=loud"},
			[]string{"config", "check"},
			78,
			"dynod: DYNOD_LOG_LEVEL: log.level = \"loud\": must be one of debug, info, warn, error\n",
		},
		{
			"bad flag value", nil,
			[]string{"--log.level=loud"},
			78,
			"dynod: --log.level: log.level = \"loud\": must be one of debug, info, warn, error\n",
		},
		{
			"run directory on a disk", nil,
			[]string{"--run_dir=" + disk, "--state_dir=" + disk},
			78,
			"dynod: run_dir = \"" + disk + "\": must be on a tmpfs: launch plans hold the dynos' secrets and must never reach a disk; " +
				"mount one there (mount -t tmpfs -o mode=0711 tmpfs " + disk + ")\n",
		},
		{
			"unknown flag", nil,
			[]string{"--log.lvel=info"},
			64,
			"dynod: unknown flag: --log.lvel; did you mean \"log.level\"?\n",
		},
		{"bad file, doctor", nil, []string{"doctor", "--config", bad}, 78, ""},
		{"unknown form of doctor", nil, []string{"doctor", "-o", "xml"}, 64, "dynod: --output \"xml\": must be text or json\n"},
		{"unknown verb", nil, []string{"serve"}, 64, "dynod: unknown command \"serve\" for \"dynod\"\n"},
		{"word behind a verb", nil, []string{"capture", "now"}, 64, "dynod: unknown command \"now\" for \"dynod capture\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := run(t, c.env, c.args...)
			if code != c.code {
				t.Errorf("status %d, want %d; said %s", code, c.code, stderr)
			}
			if c.stderr != "" && stderr != c.stderr {
				t.Errorf("said\n%swant\n%s", stderr, c.stderr)
			}
		})
	}
}

func onDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "dynod-test-") //nolint:usetesting // t.TempDir cannot choose the file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestDefaultFileIsGood(t *testing.T) {
	code, file, stderr := run(t, nil, "config", "default")
	if code != 0 {
		t.Fatalf("config default: %d, %s", code, stderr)
	}
	name := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t, nil, "config", "check", "--config", name); code != 0 || stdout != "configuration is good\n" {
		t.Errorf("config check: %d, %s%s", code, stdout, stderr)
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := run(t, nil, "version"); code != 0 || stdout != "dynod v1.2.3-test\n" {
		t.Errorf("status %d, said %q", code, stdout)
	}
}

// TestCaptureReadsWhatTheAgentReads: capture runs elsewhere, so a relative path would lead nowhere.
func TestCaptureReadsWhatTheAgentReads(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		want    []string
	}{
		{"default file", []string{"--log.level=warn"}, nil, []string{"--log.level=warn"}},
		{"flag", []string{"--config", "c.toml"}, []string{"DYNOD_CONFIG=d.toml"}, []string{"--config", "c.toml", "--config=" + dir + "/c.toml"}},
		{"environment", nil, []string{"DYNOD_CONFIG=d.toml"}, []string{"--config=" + dir + "/d.toml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := main.CaptureArgs("/bin/dynod", c.args, c.environ)
			if want := append([]string{"/bin/dynod", "capture"}, c.want...); err != nil || !slices.Equal(got, want) {
				t.Errorf("argv %q, %v; want %q", got, err, want)
			}
		})
	}
}

// TestCapture runs the real thing: it serves on the socket that the settings say, only once per spool, and leaves with
// status 0 on SIGTERM.
func TestCapture(t *testing.T) {
	runDir, err := os.MkdirTemp("/dev/shm", "dynod-test-") //nolint:usetesting // t.TempDir cannot choose the file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runDir) })
	args := []string{"capture", "--run_dir=" + runDir, "--state_dir=" + onDisk(t)}

	cmd := command(t.Context(), nil, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, filepath.Join(runDir, "capture.sock"))
	if code, _, said := run(t, nil, args...); code != 1 || !strings.Contains(said, "another capture runs") {
		t.Errorf("second capture: status %d, said %s", code, said)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("capture: %v, said %s", err, &stderr)
	}
}

// await returns when something accepts connections on the socket.
func await(t *testing.T, socket string) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unixpacket", socket); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("nobody listens on %s", socket)
		case <-tick.C:
		}
	}
}

// Without settings that can be used doctor says what is wrong with them, as any other finding.
func TestDoctorOfBadSettings(t *testing.T) {
	code, stdout, stderr := run(t, []string{"DYNOD_LOG_LEVEL=loud"}, "doctor")
	const want = "failure  configuration  DYNOD_LOG_LEVEL: log.level = \"loud\": must be one of debug, info, warn, error\n"
	if code != 78 || stdout != want || stderr != "" {
		t.Errorf("status %d, said %q and %q", code, stdout, stderr)
	}
}
