package e2e_test

import (
	"context"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// imageOrder makes an order one for an image's own command.
func imageOrder(archive string) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) {
		o.Spec.Artifact = &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: &dynodv1.ImageArtifact{Reference: archive}}}
		o.Spec.Command = nil
	}
}

// A release's dynos that are ordered at once fetch and unpack its slug once.
func TestTenDynosOfOneReleaseAtOnce(t *testing.T) {
	s := open(t, "")
	for n := range 10 {
		s.start(s.order(n+1, "run.1", "test -x web", oneOff))
	}
	for n := range 10 {
		if d := s.await(id(n+1), complete, crashed); d.GetExit().GetCode() != 0 {
			t.Errorf("dyno %d: %v", n+1, d)
		}
	}
	log, err := os.ReadFile(s.Lab.Dir() + "/agent.log")
	if n := strings.Count(string(log), `"msg":"slug unpacked"`); err != nil || n != 1 {
		t.Errorf("unpacked %d times, %v", n, err)
	}
}

// stand-in for the lifecycle's launcher: it is called by a process type's name, with "--" and words, or with a line.
const standIn = `#!/bin/bash
type=${0##*/}
echo "$type in $PWD, HOME=$HOME CNB_APP_DIR=$CNB_APP_DIR uid $(id -u), $# arguments"
[ "$type" != launcher ] && exec sleep 600
if [ "$1" = -- ]; then shift; exec "$@"; fi
exec bash -c "$1"
`

func buildpacksImage(t *testing.T) string {
	t.Helper()
	return must(lab.Image(t.Context(), map[string]lab.File{
		"cnb/lifecycle/launcher": {Data: standIn, Mode: 0o755},
		"cnb/process/worker":     {Link: "/cnb/lifecycle/launcher"},
		"workspace":              {Mode: os.ModeDir | 0o755},
	}, v1.Config{
		Env:        []string{"CNB_PLATFORM_API=0.12", "CNB_APP_DIR=/workspace", "HOME=/home/cnb"},
		Entrypoint: []string{"/cnb/process/worker"}, WorkingDir: "/workspace", User: "0:0",
		Labels: map[string]string{"io.buildpacks.build.metadata": `{"processes": [{"type": "worker", "command": ["ignored"], "direct": true}]}`},
	}))(t)
}

func TestBuildpacksImage(t *testing.T) {
	s := open(t, "")
	image := imageOrder(buildpacksImage(t))
	const where = " in /workspace, HOME=/home/cnb CNB_APP_DIR=/workspace uid 1000, "
	worker := s.start(s.order(1, "worker.1", "", image))
	s.output(worker, "stdout", "worker in ")
	s.stop(worker)
	s.await(worker, down)
	if got := s.output(worker, "stdout", "Process exited with status 143"); len(got) != 1 || got[0] != "worker"+where+"0 arguments" {
		t.Errorf("process: %q", got)
	}
	out, exit := s.run(2, "", image, func(o *dynodv1.StartDynoRequest) {
		o.Spec.Command = &dynodv1.Command{Words: []string{"echo", "$PORT"}}
	})
	if exit.GetCode() != 0 || len(out) != 2 || out[0] != "launcher"+where+"3 arguments" || out[1] != "$PORT" {
		t.Errorf("words: %q, %v", out, exit)
	}
	out, exit = s.run(3, "", image, func(o *dynodv1.StartDynoRequest) {
		o.Spec.Command = &dynodv1.Command{Line: "echo $PORT; exit 7"}
	})
	if exit.GetCode() != 7 || len(out) != 2 || out[0] != "launcher"+where+"1 arguments" || out[1] != "5000" {
		t.Errorf("line: %q, %v", out, exit)
	}
	web := s.start(s.order(4, "web.1", "", image))
	d := s.await(web, crashed)
	if e := d.GetExit(); e.GetErrorCode() != "R99" || !strings.Contains(e.GetPlatformFailure(), `no process type "web"`) {
		t.Errorf("no such process: %v", d)
	}
	if said := s.output(web, "platform", "State changed from starting to crashed"); !strings.Contains(strings.Join(said, "\n"), `Error R99 (Platform error) -> The image has no process type "web"; it has: "worker"`) {
		t.Errorf("said %q", said)
	}
}

// What an image asks for beyond command, environment and directory is not honoured; a directory of the kernel's is refused.
func TestOddImage(t *testing.T) {
	s := open(t, "")
	config := v1.Config{
		User: "root", Cmd: []string{"/bin/sh", "-c", "id -u; grep -c ' /etc ' /proc/mounts; echo rea''dy; exec sleep 600"}, WorkingDir: "/tmp",
		StopSignal: "SIGKILL", ExposedPorts: map[string]struct{}{"1/tcp": {}}, Volumes: map[string]struct{}{"/etc": {}},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "false"}},
		Labels:      map[string]string{"containerd.io/gc.root": "x", "big": strings.Repeat("x", 100_000)},
	}
	odd := s.start(s.order(1, "worker.1", "", imageOrder(must(lab.Image(t.Context(), nil, config))(t))))
	s.output(odd, "stdout", "ready")
	s.stop(odd)
	if d := s.await(odd, down); d.GetExit().GetCode() != 143 {
		t.Errorf("exit %v", d.GetExit())
	}
	if got := s.output(odd, "stdout", "Process exited with status 143"); strings.Join(got, " ") != "1000 0 ready" {
		t.Errorf("output %q", got)
	}
	config.WorkingDir = "/proc/self/fd"
	d := s.await(s.start(s.order(2, "worker.1", "", imageOrder(must(lab.Image(t.Context(), nil, config))(t)))), crashed)
	if e := d.GetExit(); e.GetErrorCode() != "R99" || !strings.Contains(e.GetPlatformFailure(), "is below /proc") {
		t.Errorf("exit %v", e)
	}
}

// The cache as an operator sees it, over a restart of the agent.
func TestCacheByTheTools(t *testing.T) {
	s := open(t, "")
	ctl := func(args ...string) string {
		t.Helper()
		out, err := s.Ctl(t.Context(), args...)
		s.check(err)
		return out
	}
	name := "SHA256:" + s.slug.sum
	out := ctl("pull", "--slug", "file://"+s.slug.file, "--sha256", s.slug.sum, "--stack", "small")
	if !strings.HasPrefix(out, "complete: ") {
		t.Errorf("pull: %q", out)
	}
	if again := ctl("pull", "--slug", "file://"+s.slug.file, "--sha256", s.slug.sum, "--stack", "small"); again != "complete: it was here\n" {
		t.Errorf("pull again: %q", again)
	}
	dyno := s.start(s.order(1, "worker.1", "./web worker"))
	s.await(dyno, up)
	s.check(s.KillAgent())
	s.check(s.StartAgent(t.Context()))
	if out := ctl("prune"); strings.Contains(out, name) || !strings.Contains(out, "0 removed") {
		t.Errorf("prune with a dyno: %q", out)
	}
	if got := s.cached(t.Context(), name); got.GetReferences() != 1 || got.GetSizeBytes() < 1<<20 {
		t.Errorf("cached: %v", got)
	}
	s.stop(dyno)
	s.await(dyno, down)
	s.free(name)
	if out := ctl("prune", "--unused-for", "1h"); !strings.Contains(out, "0 removed") {
		t.Errorf("prune of what was used just now: %q", out)
	}
	if out := ctl("prune"); !strings.HasPrefix(out, name+"\n1 removed, ") {
		t.Errorf("prune: %q", out)
	}
	if _, exit := s.run(2, "test -x web"); exit.GetCode() != 0 { // the stack is still there, the slug comes again
		t.Errorf("after prune: %v", exit)
	}
}

func (s *stage) cached(ctx context.Context, name string) *dynodv1.CachedArtifact {
	s.t.Helper()
	all, err := s.API().ListArtifacts(ctx, &dynodv1.ListArtifactsRequest{})
	s.check(err)
	for _, a := range all.GetArtifacts() {
		if a.GetName() == name {
			return a
		}
	}
	return nil
}

// free waits until no dyno uses an artifact.
func (s *stage) free(name string) {
	s.t.Helper()
	s.check(rig.Await(s.t.Context(), name+" to be free", func() (bool, error) {
		return s.cached(s.t.Context(), name).GetReferences() == 0, nil
	}))
}

// A host that is short of room removes, when something is fetched, what no dyno uses.
func TestShortOfRoom(t *testing.T) {
	t.Setenv("DYNOD_ARTIFACTS_MIN_FREE_PERCENT", "90")
	s := open(t, "")
	name := "SHA256:" + s.slug.sum
	if _, exit := s.run(1, "test -x web"); exit.GetCode() != 0 {
		t.Errorf("got %v", exit)
	}
	s.free(name)
	path, sum, err := lab.Slug(map[string]lab.File{"another": {}})
	s.check(err)
	dyno := s.start(s.order(2, "worker.1", "sleep 600", func(o *dynodv1.StartDynoRequest) {
		o.Spec.Artifact.GetSlug().Url, o.Spec.Artifact.GetSlug().Sha256 = "file://"+path, sum
	}))
	s.await(dyno, up)
	s.check(rig.Await(t.Context(), "the unused slug to go", func() (bool, error) { return s.cached(t.Context(), name) == nil, nil }))
	if s.cached(t.Context(), "SHA256:"+sum) == nil {
		t.Error("the slug in use went")
	}
}
