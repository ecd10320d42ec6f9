package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func metadata(o *dynodv1.StartDynoRequest) {
	o.Spec.Metadata = &dynodv1.Metadata{
		AppId: "app-7", ReleaseId: "rel-9", ReleaseVersion: "v42", SlugCommit: "c0ffee", SlugDescription: "Deploy c0ffee",
		ReleaseCreatedAt: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
	}
}

// What an app finds out about itself.
func TestMetadataInside(t *testing.T) {
	s := open(t, "")
	got, _ := s.run(1, `env | grep ^HEROKU_ | sort; cat /etc/heroku/dyno; stat -c '%a %U' /etc/heroku/dyno`, metadata)
	want := []string{
		"HEROKU_APP_ID=app-7", "HEROKU_APP_NAME=e2e", "HEROKU_DYNO_ID=" + id(1), "HEROKU_RELEASE_CREATED_AT=2026-01-02T03:04:05Z",
		"HEROKU_RELEASE_VERSION=v42", "HEROKU_SLUG_COMMIT=c0ffee", "HEROKU_SLUG_DESCRIPTION=Deploy c0ffee",
		`{"dyno":{"id":"` + id(1) + `","name":"run.1"},"app":{"id":"app-7","name":"e2e"},"release":{"id":"rel-9","commit":"c0ffee","description":"Deploy c0ffee"}}`,
		"644 root",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s", strings.Join(got, "\n"))
	}
	got, _ = s.run(2, `env | grep -c ^HEROKU_; ls /etc/heroku 2>/dev/null || echo none`)
	if !slices.Equal(got, []string{"0", "none"}) {
		t.Errorf("without metadata: %q", got)
	}
}

// The limits that an app can read are those in force: of its size, or its order's own.
func TestLimitsInside(t *testing.T) {
	s := open(t, "")
	const ask = `cat /sys/fs/cgroup/memory/memory.limit_in_bytes; ulimit -u; ulimit -Hu; ulimit -c; df -k /dev/shm | awk 'NR == 2 {print $2}'; ulimit -n`
	own := func(o *dynodv1.StartDynoRequest) {
		o.Spec.Limits = &dynodv1.Limits{MemoryBytes: 96 << 20, Pids: 99, OpenFiles: 777, CpuWeight: 50, CpuCeilingMilli: 500, DiskBytes: 64 << 20}
	}
	for n, c := range []struct {
		change func(*dynodv1.StartDynoRequest)
		want   string
	}{
		{func(*dynodv1.StartDynoRequest) {}, "536870912 256 256 0 65536 " + openFiles(t, 10000)},
		{func(o *dynodv1.StartDynoRequest) { o.Spec.Size = "standard-2x" }, "1073741824 512 512 0 65536 " + openFiles(t, 10000)},
		{func(o *dynodv1.StartDynoRequest) { o.Spec.Size = "private-m" }, "2684354560 16384 16384 0 65536 " + openFiles(t, 1<<20)},
		{own, "100663296 99 99 0 65536 777"},
	} {
		if got, _ := s.run(n, ask, c.change); strings.Join(got, " ") != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	want := &dynodv1.Limits{MemoryBytes: 96 << 20, Pids: 99, OpenFiles: 777, CpuWeight: 50, CpuCeilingMilli: 500, DiskBytes: 64 << 20}
	if got := s.get(id(3)).GetLimits(); got.String() != want.String() {
		t.Errorf("shown: %v", got)
	}
}

// openFiles is a limit as far as the agent may give it: it inherits the test's own hard limit, and raises it only
// with CAP_SYS_RESOURCE.
func openFiles(t *testing.T, want uint64) string {
	t.Helper()
	var own unix.Rlimit
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &own), unix.Capget(&header, &caps[0])); err != nil {
		t.Fatal(err)
	}
	if caps[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		want = min(want, own.Max)
	}
	return fmt.Sprint(want)
}

// An app's own passwd line, name and places.
func TestPlacesInside(t *testing.T) {
	s := open(t, "")
	got, _ := s.run(1, `grep ":$(id -u):" /etc/passwd | cut -d: -f3,6; id -un; getent passwd $(id -u) >/dev/null 2>&1; hostname
grep -c "$(hostname)" /etc/hosts; test -s /etc/resolv.conf && echo resolv; cat /etc/hostname`)
	want := []string{"1000:/app", "dyno", id(1), "1", "resolv", id(1)}
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		want = slices.Delete(want, 4, 5)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.run(2, `touch /app/old /tmp/old /var/tmp/old`)
	if got, _ := s.run(3, `ls /app/old /tmp/old /var/tmp/old 2>/dev/null | wc -l`); !slices.Equal(got, []string{"0"}) {
		t.Errorf("files of another dyno: %q", got)
	}
}

// An image dyno may write where a slug dyno may, and has the same home.
func TestPlacesInsideAnImage(t *testing.T) {
	s := open(t, "")
	image := func(o *dynodv1.StartDynoRequest) {
		o.Spec.Artifact = &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: &dynodv1.ImageArtifact{Reference: must(lab.SmallStack(t.Context()))(t)}}}
	}
	got, exit := s.run(1, `for d in /app /tmp /var/tmp; do touch $d/x && echo $d; done; echo $HOME $DYNO $PORT; id -u; cat /sys/fs/cgroup/memory/memory.limit_in_bytes`, image)
	if want := []string{"/app", "/tmp", "/var/tmp", "/app run.1 5000", "1000", "536870912"}; !slices.Equal(got, want) || exit.GetCode() != 0 {
		t.Errorf("exit %v, got %q", exit, got)
	}
}

// The crash policy's state is to be seen, and the schedule is the host's where the order names none.
func TestCrashPolicyIsShown(t *testing.T) {
	s := open(t, "[defaults]\ncrash_delays = [\"0s\", \"1h\"]\ncrash_reset_after = \"7m\"\n")
	dyno := s.start(s.order(1, "worker.1", "./web crash 10ms 3", func(o *dynodv1.StartDynoRequest) {
		o.Spec.RestartPolicy = &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_BACKOFF}
	}))
	second := func() (bool, error) {
		d := s.get(dyno)
		return d.GetCrashes() == 2 && d.GetNextStartAt() != nil, nil
	}
	s.check(rig.Await(t.Context(), "the second crash", second))
	before := s.get(dyno)
	if wait := before.GetNextStartAt().AsTime().Sub(before.GetExit().GetAt().AsTime()); wait != time.Hour {
		t.Errorf("next start after %s", wait)
	}
	s.check(s.KillAgent())
	s.check(s.StartAgent(t.Context()))
	after := s.get(dyno)
	if after.GetCrashes() != 2 || !after.GetNextStartAt().AsTime().Equal(before.GetNextStartAt().AsTime()) {
		t.Errorf("before %v after %v", before, after)
	}
	want := &dynodv1.RestartPolicy{
		Kind: dynodv1.RestartPolicy_KIND_BACKOFF, Delays: []*durationpb.Duration{durationpb.New(0), durationpb.New(time.Hour)}, ResetAfter: durationpb.New(7 * time.Minute),
	}
	if got := after.GetRestartPolicy(); got.String() != want.String() {
		t.Errorf("got %v", got)
	}
	out, err := s.Ctl(t.Context(), "inspect", "worker.1")
	for _, line := range []string{"start again after 0s, 1h; reset when up for 7m", "Crashes: 2", "Next start:"} {
		if err != nil || !strings.Contains(unaligned(out), line) {
			t.Errorf("no %q in %v:\n%s", line, err, out)
		}
	}
}

// Who gives orders learns whether disk quotas are held, and who runs the host what is missing if not.
func TestDiskQuotaIsReported(t *testing.T) {
	s := open(t, "")
	out, err := s.API().GetHost(t.Context(), &dynodv1.GetHostRequest{})
	s.check(err)
	host := out.GetHost()
	warned := slices.ContainsFunc(host.GetWarnings(), func(w string) bool { return strings.Contains(w, "project quotas") })
	if mode := host.GetDiskQuota(); mode != "none" && mode != "project" || warned != (mode == "none") {
		t.Errorf("disk quota %q, warnings %q", host.GetDiskQuota(), host.GetWarnings())
	}
	if text, err := s.Ctl(t.Context(), "host"); err != nil || !strings.Contains(unaligned(text), "Disk quota: "+host.GetDiskQuota()) {
		t.Errorf("%v\n%s", err, text)
	}
}

// unaligned is a table with one space between its words.
func unaligned(table string) string { return strings.Join(strings.Fields(table), " ") }
