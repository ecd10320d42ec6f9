package report_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

func TestReport(t *testing.T) {
	n := report.Notes{Check: "disk"}
	n.OK("%d%% free", 50)
	n.Warn("make room", "state_dir: %v", errors.New("two\nlines"))
	r := report.Report{Findings: append(n.All, report.Finding{Check: "containerd", Status: report.OK, Text: "version 2.0"})}
	if r.Failed() {
		t.Error("failed without a failure")
	}
	n.Fail("", "gone")
	r.Findings = append(r.Findings, n.All[2])
	if !r.Failed() {
		t.Error("a failure, and not failed")
	}
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	const want = `ok       disk        50% free
warning  disk        state_dir: two lines
                     make room
ok       containerd  version 2.0
failure  disk        gone
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}
