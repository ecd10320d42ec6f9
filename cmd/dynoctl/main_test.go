package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	main "github.com/dynod/dynod/cmd/dynoctl"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// dynoctl is this test binary, which is the command itself where asCommand is set.
var dynoctl string

const asCommand = "DYNOCTL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(main.Run())
	}
	os.Exit(withCommand(m))
}

func withCommand(m *testing.M) int {
	var err error
	if dynoctl, err = os.Executable(); err == nil {
		// For all children; the race detector would let each sleep for a second at its end.
		err = errors.Join(os.Setenv(asCommand, "1"), os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// result is what a run of dynoctl left.
type result struct {
	out, errOut string
	code        int
}

// run executes dynoctl against a.
func run(t *testing.T, a *agent, input string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), dynoctl, args...)
	cmd.Env = append(os.Environ(), "DYNOD_SOCKET="+a.socket)
	cmd.Stdin = strings.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

func want(t *testing.T, got result, code int, out, errOut string) {
	t.Helper()
	if diff := cmp.Diff(result{strings.TrimPrefix(out, "\n"), strings.TrimPrefix(errOut, "\n"), code}, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("dynoctl's result (-want +got):\n%s", diff)
	}
}

const (
	webID    = "1b671a64-40d5-491e-99b0-da01ff1f3341"
	oldID    = "1b671a64-ffff-491e-99b0-da01ff1f3341"
	workerID = "2c0a1e7e-0000-4000-8000-000000000002"
	otherID  = "3d0a1e7e-0000-4000-8000-000000000003"
)

var morning = timestamppb.New(time.Date(2026, 1, 2, 15, 4, 5, 678901000, time.UTC))

// newAgent has four dynos: shop's web.1, its dead predecessor and a worker, and another app's worker of the same name.
func newAgent(t *testing.T) *agent {
	t.Helper()
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }
	return serveAgent(t, world{
		host: &dynodv1.Host{
			WarmSlots: 4,
			Name:      "host1", AgentVersion: "9.9.9", BootId: "b", Kernel: "6.1", AgentStartedAt: morning,
			Capacity: &dynodv1.Capacity{MemoryBytes: 8 << 30, Dynos: 100, CpuMilli: 2000},
			Free:     &dynodv1.Capacity{MemoryBytes: 1 << 29, Dynos: 96, CpuMilli: 1500},
			Pressure: &dynodv1.Pressure{Cpu: 12.34, Io: 0.5}, ContainerdReachable: true,
			SpoolBacklogBytes: 2048, DiskQuota: "none", Warnings: []string{"no swap", "clock\x1b[2J is off"},
		},
		dynos: []*dynodv1.Dyno{
			{
				Id: oldID, Generation: 1, App: "shop", Name: "web.1", Type: "web", Size: "standard-1x", Lives: 1,
				Phase: dynodv1.Phase_PHASE_DOWN, PhaseSince: ago(49 * time.Hour), Exit: &dynodv1.Exit{Code: 143, Signal: 15, At: morning},
			},
			{
				Id: webID, Generation: 3, App: "shop", Name: "web.1", Type: "web", Size: "standard-1x", Lives: 2,
				Phase: dynodv1.Phase_PHASE_UP, PhaseSince: ago(5*time.Minute + 10*time.Second), AcceptedAt: morning,
				Limits:  &dynodv1.Limits{MemoryBytes: 512 << 20, CpuWeight: 100, CpuCeilingMilli: 1500, Pids: 256, OpenFiles: 10000, DiskBytes: 4 << 30},
				Address: "172.16.0.2", Port: 5000, HostPort: 20000, Pid: 4711,
				Exit:     &dynodv1.Exit{Code: 137, Signal: 9, OutOfMemory: true, ErrorCode: "R15", At: morning},
				Artifact: "heroku-24 SHA256:abc", Command: "bin/web -p 5000\x1b[31m",
				Crashes: 1, OneOff: true, RestartPolicy: &dynodv1.RestartPolicy{
					Kind:   dynodv1.RestartPolicy_KIND_BACKOFF,
					Delays: []*durationpb.Duration{durationpb.New(0), durationpb.New(20 * time.Minute), durationpb.New(320 * time.Minute)}, ResetAfter: durationpb.New(time.Hour),
				},
			},
			{
				Id: workerID, Generation: 1, App: "shop", Name: "worker.1", Type: "worker", Size: "eco", Lives: 1,
				Phase: dynodv1.Phase_PHASE_CRASHED, PhaseSince: ago(3 * time.Hour), Reason: "shim killed",
				Exit: &dynodv1.Exit{Code: -1, PlatformFailure: "shim killed", ErrorCode: "R99", At: morning},
			},
			{
				Id: otherID, Generation: 1, App: "blog", Name: "worker.1", Type: "worker", Size: "eco",
				Phase: dynodv1.Phase_PHASE_STARTING, Stuck: true,
			},
		},
	})
}
