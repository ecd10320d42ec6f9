package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	"github.com/dynod/dynod/agent/rpc/transport"
	main "github.com/dynod/dynod/cmd/dynoplane"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// dynoplane is this test binary, which is the command itself where asCommand is set; certs holds throw-away certificates
// that it made.
var dynoplane, certs string

const asCommand = "DYNOPLANE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(main.Run())
	}
	os.Exit(withCommand(m))
}

func withCommand(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dynoplane-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		certs = filepath.Join(dir, "certs")
		dynoplane, err = os.Executable()
	}
	if err == nil {
		// For all children; the race detector would let each sleep for a second at its end.
		err = errors.Join(os.Setenv(asCommand, "1"), os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	}
	if err == nil {
		err = exec.Command(dynoplane, "certs", certs, "--host", "127.0.0.9").Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func files(name string) transport.TLSFiles {
	return transport.TLSFiles{
		Cert: filepath.Join(certs, name+".pem"), Key: filepath.Join(certs, name+"-key.pem"), CA: filepath.Join(certs, "ca.pem"),
	}
}

// plane is a running dynoplane serve.
type plane struct {
	t       *testing.T
	data    string
	address string
	cmd     *exec.Cmd
}

var serving = regexp.MustCompile(`serving address=(\S+)`)

// startPlane runs dynoplane serve for the agent's certificate on data.
func startPlane(t *testing.T, data string, args ...string) *plane {
	t.Helper()
	if len(args) == 0 {
		f := files("plane")
		args = []string{"--listen", "127.0.0.1:0", "--cert", f.Cert, "--key", f.Key, "--ca", f.CA, "--allow", "agent"}
	}
	p := &plane{t: t, data: data, cmd: exec.Command(dynoplane, append([]string{"serve", "--data", data}, args...)...)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.end(syscall.SIGKILL)
		}
	})
	lines := bufio.NewReader(stderr)
	for p.address == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("plane ended before it served: %q", line)
		}
		if m := serving.FindStringSubmatch(line); m != nil {
			p.address = m[1]
		}
	}
	go io.Copy(io.Discard, lines) //nolint:errcheck // ends with the process
	return p
}

// end signals the plane and waits for it.
func (p *plane) end(signal syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); (err == nil) != (signal == syscall.SIGTERM) {
		p.t.Errorf("plane after %v: %v", signal, err)
	}
}

// dial connects to the plane as the agent does.
func (p *plane) dial() dynodv1.UpstreamServiceClient {
	p.t.Helper()
	config, err := transport.ClientTLS(files("agent"), "plane")
	if err != nil {
		p.t.Fatal(err)
	}
	return dial(p.t, p.address, transport.DialOptions{TLS: config})
}

func dial(t *testing.T, target string, options transport.DialOptions) dynodv1.UpstreamServiceClient {
	t.Helper()
	conn, err := transport.Dial(target, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return dynodv1.NewUpstreamServiceClient(conn)
}

// stats are the plane's counters, after an orderly end saved them.
func (p *plane) stats() map[string]int64 {
	p.t.Helper()
	p.end(syscall.SIGTERM)
	data, err := os.ReadFile(filepath.Join(p.data, "stats.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	counters := map[string]int64{}
	if err := json.Unmarshal(data, &counters); err != nil {
		p.t.Fatal(err)
	}
	return counters
}

// shipping is an open ShipLogs stream.
type shipping struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]
	batch  uint64
}

func (p *plane) ship() *shipping {
	p.t.Helper()
	stream, err := p.dial().ShipLogs(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return &shipping{t: p.t, stream: stream}
}

// try sends runs of one dyno and gives the answer.
func (s *shipping) try(id string, runs ...*dynodv1.LogRun) (*dynodv1.ShipLogsResponse, error) {
	s.t.Helper()
	s.batch++
	for _, r := range runs {
		r.DynoId = id
	}
	request := &dynodv1.ShipLogsRequest{Batch: s.batch, Host: "h", Runs: runs}
	if err := s.stream.Send(request); err != nil && err != io.EOF { //nolint:errorlint // the stream's end, told by Recv
		return nil, err
	}
	return s.stream.Recv()
}

// send sends runs of one dyno and gives the position that was acknowledged, which must be one stream's.
func (s *shipping) send(id string, runs ...*dynodv1.LogRun) int64 {
	s.t.Helper()
	answer, err := s.try(id, runs...)
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.GetBatch() != s.batch || len(answer.GetDelivered()) != 1 || answer.GetDelivered()[0].GetDynoId() != id {
		s.t.Fatalf("got answer %v to batch %d", answer, s.batch)
	}
	return answer.GetDelivered()[0].GetOffset()
}
