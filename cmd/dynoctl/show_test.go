package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func TestPs(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "", "ps"), 0, `
ID        APP   NAME      SIZE         PHASE             SINCE  LIVES  ADDRESS     HOSTPORT  EXIT
1b671a64  shop  web.1     standard-1x  down              2d     1      -           -         143
1b671a64  shop  web.1     standard-1x  up                5m     2      172.16.0.2  20000     137 R15 OOM
2c0a1e7e  shop  worker.1  eco          crashed           3h     1      -           -         lost R99
3d0a1e7e  blog  worker.1  eco          starting (stuck)  -      0      -           -         -
`, "")
}

func TestMetrics(t *testing.T) {
	want(t, run(t, newAgent(t), "", "metrics"), 0, "\ndynod_ready 1\n", "")
}

func TestInspect(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.dynos[1].PhaseSince = morning
		w.pressure = &dynodv1.Pressure{Cpu: 0.5, Io: 12}
		w.find(webID).LogDelivery = []*dynodv1.LogDelivery{{Kind: "upstream", WaitingBytes: 77}, {Kind: "syslog", Number: 1, DeliveredLines: 9}}
		w.host.Warnings = append(w.host.Warnings, "the network of dyno "+webID+" is broken: its namespace is gone")
	})
	for _, word := range []string{webID, "web.1", "shop/web.1", "1b671a64-4", "1b671a64"} {
		want(t, run(t, a, "", "inspect", word), 0, `
Id:                1b671a64-40d5-491e-99b0-da01ff1f3341
Generation:        3
App:               shop
Name:              web.1
Type:              web
Size:              standard-1x
One-off:           yes
Phase:             up
Since:             2026-01-02T15:04:05Z
Accepted:          2026-01-02T15:04:05Z
Artifact:          heroku-24 SHA256:abc
Command:           bin/web -p 5000\x1b[31m
Memory:            512MiB
CPU weight:        100
CPU ceiling:       1.5 CPUs
Processes:         256
Open files:        10000
Disk:              4GiB
Address:           172.16.0.2
Port:              5000
Host port:         20000
Pid:               4711
Lives:             2
Last exit:         137 R15 OOM (signal 9) at 2026-01-02T15:04:05Z
Crash policy:      start again after 0s, 20m, 5h20m; reset when up for 1h
Crashes:           1
Waited:            CPU 0.5%, memory 0%, disk 12%
Logs to upstream:  77 bytes wait
Logs to syslog 1:  9 lines delivered
Warning:           the network of dyno 1b671a64-40d5-491e-99b0-da01ff1f3341 is broken: its namespace is gone
`, "")
	}
}

func TestNames(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.dynos[2].Phase = w.dynos[3].Phase }) // two living workers
	want(t, run(t, a, "", "inspect", "worker.1"), 2, "",
		"dynoctl: \"worker.1\" means 2 dynos: "+workerID+", "+otherID+"\n")
	want(t, run(t, a, "", "inspect", "web.9"), 4, "",
		"dynoctl: no dyno has the name \"web.9\" or an id that begins so\n")
	want(t, run(t, a, "", "inspect", ""), 4, "",
		"dynoctl: no dyno has the name \"\" or an id that begins so\n")
}

func TestJSON(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.dynos[3].PhaseSince = morning })
	for range 3 { // the encoder under it varies its output from build to build, and so does this from run to run
		want(t, run(t, a, "", "-o", "json", "inspect", otherID), 0, `
{
  "id": "3d0a1e7e-0000-4000-8000-000000000003",
  "generation": "1",
  "app": "blog",
  "name": "worker.1",
  "type": "worker",
  "size": "eco",
  "phase": "PHASE_STARTING",
  "phaseSince": "2026-01-02T15:04:05.678901Z",
  "acceptedAt": null,
  "limits": null,
  "address": "",
  "port": 0,
  "hostPort": 0,
  "pid": 0,
  "lives": 0,
  "exit": null,
  "nextStartAt": null,
  "reason": "",
  "artifact": "",
  "command": "",
  "stuck": true,
  "oneOff": false,
  "crashes": 0,
  "restartPolicy": null,
  "logDelivery": []
}
`, "")
	}
	var list struct{ Dynos []struct{ ID string } }
	got := run(t, a, "", "ps", "--output", "json")
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list.Dynos) != 4 {
		t.Errorf("ps: got %v, %v", list, err)
	}
	a.change(func(w *world) { w.dynos = nil })
	want(t, run(t, a, "", "ps", "-o", "json"), 0, "{\n  \"dynos\": []\n}\n", "")
}

func TestHost(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.host.LogDelivery = []*dynodv1.LogDelivery{
			{Kind: "logplex", Receivers: 2, DeliveredLines: 20, DroppedLines: 5, LostLines: 6, Failures: 4, OldestAt: morning},
			{Kind: "upstream", Receivers: 1},
		}
	})
	text := `
Name:              host1
Accepts starts:    yes
Agent:             9.9.9
Agent started:     2026-01-02T15:04:05Z
Kernel:            6.1
Boot:              b
Capacity:          100 dynos, 8GiB memory, 2 CPUs
Free:              96 dynos, 512MiB memory, 1.5 CPUs
Warm slots:        4
Pressure:          cpu 12.3%, memory 0.0%, io 0.5%
containerd:        reachable
Disk quota:        none
Logs waiting:      2KiB
Logs to logplex:   20 lines delivered, 5 dropped (L12), 6 refused or given up (L13), 4 attempts failed, the oldest under way is of 2026-01-02T15:04:05Z
Logs to upstream:  nothing waits
Warning:           no swap
Warning:           clock\x1b[2J is off
`
	want(t, run(t, a, "", "host"), 0, text, "")
	want(t, run(t, a, "", "cordon", "--reason", "disk"), 0, strings.Replace(text, "yes", "no: cordoned", 1), "")
	want(t, run(t, a, "", "uncordon"), 1, "", "dynoctl: the agent does not offer this: method UncordonHost not implemented\n")
}

func TestHostOfACloud(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.host.Instance = &dynodv1.Instance{Id: "i-1", Type: "m7g.large", Zone: "eu-west-1b", PrivateAddress: "10.0.0.1", PublicAddress: "203.0.113.1"}
		w.host.Notices = []*dynodv1.Notice{
			{Kind: dynodv1.Notice_KIND_SPOT_INTERRUPTION, Action: "terminate", DueAt: morning},
			{Kind: dynodv1.Notice_KIND_LIFECYCLE, Action: "Standby", Description: "why"},
		}
	})
	got := run(t, a, "", "host").out
	for _, line := range []string{
		"Instance:        i-1, m7g.large, eu-west-1b\n", "Addresses:       10.0.0.1, 203.0.113.1\n",
		"Notice:          spot interruption: terminate at 2026-01-02T15:04:05Z\n", "Notice:          lifecycle: Standby, why\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in:\n%s", line, got)
		}
	}
}

func TestVersion(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "", "version"), 0, "dynoctl:  1.2.3\nagent:    9.9.9\n", "")
	want(t, run(t, a, "", "version", "-o", "json"), 0, "{\n  \"dynoctl\": \"1.2.3\",\n  \"agent\": \"9.9.9\"\n}\n", "")
	a.socket = "/nowhere/s"
	want(t, run(t, a, "", "version"), 0, "dynoctl:  1.2.3\n", "dynoctl: the agent at unix:///nowhere/s is not available: "+
		"dial unix /nowhere/s: connect: no such file or directory (is dynod running?)\n")
}

func TestCompletion(t *testing.T) {
	a := newAgent(t)
	if got := run(t, a, "", "completion", "bash"); got.code != 0 || !strings.Contains(got.out, "__start_dynoctl") {
		t.Errorf("got %+v", got)
	}
	got := run(t, a, "", "__complete", "inspect", "")
	for _, line := range []string{"shop/web.1\tup, " + webID, "blog/worker.1\tstarting (stuck), " + otherID, ":4\n"} {
		if !strings.Contains(got.out, line) {
			t.Errorf("got %q, want %q in it", got.out, line)
		}
	}
	for _, args := range [][]string{{"--socket", "/nowhere", "inspect", ""}, {"inspect", "shop/web.1", ""}} {
		if got := run(t, a, "", append([]string{"__complete"}, args...)...); got.out != ":4\n" {
			t.Errorf("%q: got %q, want nothing offered", args, got.out)
		}
	}
}

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	want(t, run(t, newAgent(t), "", "docs", "man", dir+"/man"), 0, "", "")
	if got := run(t, newAgent(t), "", "--help"); strings.Contains(got.out, "docs") {
		t.Error("docs is not hidden")
	}
}
