package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// fakeDynod is a stand-in that finds what it is told to find, and fails as dynod does if there is a failure among it.
func fakeDynod(t *testing.T, r report.Report) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	status := 0
	if r.Failed() {
		status = 1
	}
	return script(t, fmt.Sprintf("echo \"$@\" >$0.args\ncat <<'END'\n%s\nEND\nexit %d", text, status))
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dynod")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func finding(s report.Status, check, text, hint string) report.Finding {
	return report.Finding{Check: check, Status: s, Text: text, Hint: hint}
}

func TestDoctor(t *testing.T) {
	a := newAgent(t)
	good := report.Report{Version: "9.9.9", Socket: a.socket, Findings: []report.Finding{
		finding(report.OK, "disk", "fine", ""),
		finding(report.Warning, "firewall", "no \x1b[2Jswap", "buy some"),
		finding(report.Warning, "memory", "no swap", "buy some"),
	}}
	dynod := fakeDynod(t, good)
	want(t, run(t, a, "", "doctor", "--dynod", dynod, "--config", "/x.toml"), 0, `
ok       disk      fine
warning  firewall  no \x1b[2Jswap
                   buy some
warning  memory    no swap
                   buy some
ok       agent     ready, since 2026-01-02T15:04:05Z
warning  agent     clock\x1b[2J is off
ok       agent     no control plane is configured
warning  agent     dynoctl is of version 1.2.3, the agent of 9.9.9
                   install both from one package
`, "")
	if args, err := os.ReadFile(dynod + ".args"); err != nil || string(args) != "doctor --output json --config /x.toml\n" {
		t.Errorf("dynod was called with %q, %v", args, err)
	}
	got := run(t, a, "", "doctor", "--dynod", dynod, "-o", "json")
	var r report.Report
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || len(r.Findings) != 7 || r.Findings[1] != good.Findings[1] {
		t.Errorf("json: %+v, %v: %s", r, err, got.out)
	}
	want(t, run(t, a, "", "doctor", "--address", "h:1"), 2, "", "dynoctl: --address: doctor examines the host that it runs on\n")
}

// Each of these alone is a failure, and makes the exit status.
func TestDoctorFails(t *testing.T) {
	good := report.Report{Version: "1.2.3", Findings: []report.Finding{finding(report.OK, "disk", "fine", "")}}
	bad := report.Report{Findings: []report.Finding{finding(report.Failure, "disk", "full", "")}}
	for _, c := range []struct {
		name   string
		dynod  string
		change func(*world)
		said   string
	}{
		{"host", fakeDynod(t, bad), nil, "failure  disk "},
		{"no dynod", "/nowhere/dynod", nil, "failure  dynod "},
		{"an old dynod", script(t, "echo 'dynod: unknown command \"doctor\"' >&2; exit 64"), nil, "doctor: exit status 64: dynod: unknown command"},
		{"silent agent", fakeDynod(t, good), func(w *world) { w.silent = true }, "the agent did not answer within 300ms"},
		{"containerd", fakeDynod(t, good), func(w *world) { w.host.ContainerdReachable = false }, "it does not reach containerd"},
		{"control plane", fakeDynod(t, good), func(w *world) { w.host.Upstream = "p:1" }, "the control plane p:1 does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAgent(t)
			if c.change != nil {
				a.change(c.change)
			}
			got := run(t, a, "", "doctor", "--dynod", c.dynod, "--timeout", "300ms")
			if got.code != 1 || !strings.Contains(got.out, "failure ") || !strings.Contains(got.out, c.said) {
				t.Errorf("status %d, said\n%s%s", got.code, got.out, got.errOut)
			}
		})
	}
}

func TestDoctorWarns(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.host.Cordoned, w.host.Unreadable, w.host.Warnings = true, []string{oldID}, nil
		w.host.Upstream, w.host.UpstreamConnected, w.host.AgentVersion = "p:1", true, "1.2.3"
	})
	dynod := fakeDynod(t, report.Report{Version: "2.0", Socket: "/elsewhere", Findings: []report.Finding{finding(report.OK, "disk", "fine", "")}})
	want(t, run(t, a, "", "doctor", "--dynod", dynod), 0, `
ok       disk   fine
ok       agent  ready, since 2026-01-02T15:04:05Z
warning  agent  it accepts no starts: the host is cordoned
                dynoctl uncordon
warning  agent  it leaves dynos alone whose records it cannot read: `+oldID+`
                the records are in state_dir/records
ok       agent  the control plane p:1 answers
warning  agent  version 1.2.3 runs, 2.0 is installed
                systemctl restart dynod; dynos stay
`, "")
}

// The socket is the configuration's, where nobody names another.
func TestDoctorTakesTheConfiguredSocket(t *testing.T) {
	a := newAgent(t)
	dynod := fakeDynod(t, report.Report{Version: "9.9.9", Socket: a.socket, Findings: []report.Finding{finding(report.OK, "disk", "fine", "")}})
	a.socket = "" // what the environment says
	if got := run(t, a, "", "doctor", "--dynod", dynod); got.code != 0 || !strings.Contains(got.out, "ready, since") {
		t.Errorf("status %d, said\n%s", got.code, got.out)
	}
}
