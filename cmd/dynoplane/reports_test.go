package main_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func report(sequence uint64, host string, snapshot bool, dynos ...*dynodv1.Dyno) *dynodv1.ReportRequest {
	return &dynodv1.ReportRequest{
		Sequence: sequence, Time: morning, Host: &dynodv1.Host{Name: host}, Snapshot: snapshot, Dynos: dynos,
	}
}

// report sends reports over one connection and gives the answer to the last.
func (p *plane) report(reports ...*dynodv1.ReportRequest) (*dynodv1.ReportResponse, error) {
	p.t.Helper()
	stream, err := p.dial().Report(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	var answer *dynodv1.ReportResponse
	for _, r := range reports {
		_ = stream.Send(r) // its error is told by Recv
		if answer, err = stream.Recv(); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

func TestReports(t *testing.T) {
	p := startPlane(t, t.TempDir())
	up := func(id string) *dynodv1.Dyno { return &dynodv1.Dyno{Id: id, Phase: dynodv1.Phase_PHASE_UP} }
	crashed := &dynodv1.Dyno{Id: "b", Phase: dynodv1.Phase_PHASE_CRASHED, Exit: &dynodv1.Exit{Code: 1}}
	last := report(3, "host1", false, up("d"))
	last.Forgotten = []string{"a"}
	sent := []*dynodv1.ReportRequest{
		report(1, "host1", true, up("c"), up("b"), up("a")), report(2, "host1", false, crashed), last,
	}
	answer, err := p.report(sent...)
	if err != nil || answer.GetAcknowledged() != 3 {
		t.Fatalf("got %v, %v, want 3 acknowledged", answer, err)
	}
	p.wantHost("host1", report(3, "host1", true, crashed, up("c"), up("d")))

	// What is not in a snapshot is gone: of a new connection, and of one that goes on.
	sent = append(sent, report(1, "host1", true, up("b"), up("c")))
	if _, err := p.report(sent[3]); err != nil {
		t.Fatal(err)
	}
	p.wantHost("host1", sent[3])
	again := report(2, "host1", true, up("c"))
	if _, err := p.report(sent[3], again); err != nil {
		t.Fatal(err)
	}
	p.wantHost("host1", again)
	p.wantReports(append(sent, sent[3], again))
	if got := p.stats()["reports"]; got != 6 {
		t.Errorf("got %d reports counted, want 6", got)
	}
}

// TestTornReportIsCutOff: the power went while the last report was written.
func TestTornReportIsCutOff(t *testing.T) {
	p := startPlane(t, t.TempDir())
	sent := []*dynodv1.ReportRequest{report(1, "host1", true), report(2, "host1", false), report(1, "host1", true)}
	if _, err := p.report(sent[:2]...); err != nil {
		t.Fatal(err)
	}
	p.end(syscall.SIGKILL)
	file := filepath.Join(p.data, "reports.jsonl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, int64(len(data)-10)); err != nil {
		t.Fatal(err)
	}
	p = startPlane(t, p.data)
	if _, err := p.report(sent[2]); err != nil {
		t.Fatal(err)
	}
	p.wantReports([]*dynodv1.ReportRequest{sent[0], sent[2]})
}

func (p *plane) wantHost(name string, want *dynodv1.ReportRequest) {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.data, "hosts", name+".json"))
	if err != nil {
		p.t.Fatal(err)
	}
	got := &dynodv1.ReportRequest{}
	if err := protojson.Unmarshal(data, got); err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		p.t.Errorf("host's file (-want +got):\n%s", diff)
	}
}

func (p *plane) wantReports(want []*dynodv1.ReportRequest) {
	p.t.Helper()
	file, err := os.Open(filepath.Join(p.data, "reports.jsonl"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer file.Close()
	var got []*dynodv1.ReportRequest
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct {
			Received string
			Report   json.RawMessage
		}
		r := &dynodv1.ReportRequest{}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Received == "" {
			p.t.Fatalf("%s: %v", lines.Text(), err)
		}
		if err := protojson.Unmarshal(line.Report, r); err != nil {
			p.t.Fatal(err)
		}
		got = append(got, r)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		p.t.Errorf("reports.jsonl (-want +got):\n%s", diff)
	}
}

func TestWrongReportsAreRefused(t *testing.T) {
	p := startPlane(t, t.TempDir())
	for name, reports := range map[string][]*dynodv1.ReportRequest{
		"no snapshot first": {report(1, "h", false)},
		"begins at 2":       {report(2, "h", true)},
		"same twice":        {report(1, "h", true), report(1, "h", false)},
		"one left out":      {report(1, "h", true), report(3, "h", false)},
		"another host":      {report(1, "h", true), report(2, "g", false)},
		"no host":           {{Sequence: 1, Snapshot: true}},
		"host is a path":    {report(1, "../h", true)},
		"host is hidden":    {report(1, ".h", true)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.report(reports...); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v, want InvalidArgument", err)
			}
		})
	}
}
