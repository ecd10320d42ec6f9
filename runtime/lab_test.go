package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/lab"
)

// testTimeout ends a test that hangs, with everything that it waits for.
const testTimeout = 2 * time.Minute

// host is a lab with a Runtime on it.
type host struct {
	t      *testing.T
	ctx    context.Context
	lab    *lab.Lab
	config runtime.Config
	*runtime.Runtime
	slots int
	sysfs string // of the network namespace in which dynos run
}

// binaries is where programs for tests are built; gone when the tests are.
var binaries = filepath.Join(os.TempDir(), fmt.Sprintf("dynod-runtime-test-%d", os.Getpid()))

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(binaries)
		os.Exit(code)
	}))
}

// dynoInit, probe and hears are built once for all tests.
var (
	dynoInit = sync.OnceValues(func() (string, error) { return build("../cmd/dyno-init") })
	probe    = sync.OnceValues(func() (string, error) { return build("./testdata/probe") })
	hears    = sync.OnceValues(func() (string, error) { return build("./testdata/hears") })
)

func build(source string) (string, error) {
	path := filepath.Join(binaries, filepath.Base(source))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-ldflags", "../cmd/dyno-init=-s -w -E dyno_init", "-o", path, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", source, err, out)
	}
	return path, nil
}

func newHost(t *testing.T, change ...func(*runtime.Config)) *host {
	t.Helper()
	l := lab.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	address, err := l.Containerd(ctx)
	must(t, err)
	stack, err := lab.SmallStack(ctx)
	must(t, err)
	init, err := dynoInit()
	must(t, err)
	h := &host{t: t, ctx: ctx, lab: l, config: runtime.Config{
		Address: address, Dir: filepath.Join(l.Dir(), "dynod"), RunDir: filepath.Join(l.Run(), "dynod"), Init: init,
		CgroupParent: l.CgroupParent(), Stacks: map[string]string{"small": stack}, FirstID: 1 << 20,
		AllowFile: true,
		Namespace: l.Namespace(),
	}}
	for _, c := range change {
		c(&h.config)
	}
	h.sysfs = filepath.Join(l.Run(), "sysfs")
	must(t, os.Mkdir(h.sysfs, 0o755))
	must(t, l.Do(l.Host(), func() error {
		return unix.Mount("sysfs", h.sysfs, "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}))
	h.restart()
	return h
}

// restart is what a new agent process does: another Runtime over the same directories.
func (h *host) restart() {
	h.t.Helper()
	old := h.Runtime
	if old != nil {
		must(h.t, old.Close())
	}
	r, err := runtime.New(h.ctx, h.config, slog.New(slog.DiscardHandler))
	must(h.t, err)
	h.Runtime = r
	if old == nil {
		h.t.Cleanup(func() { must(h.t, h.Runtime.Close()) })
	}
}

// slug makes an artifact of files below /app.
func (h *host) slug(files map[string]lab.File) runtime.Artifact {
	h.t.Helper()
	if files == nil {
		files = map[string]lab.File{"hello": {Data: "hello\n"}}
	}
	path, sum, err := lab.Slug(files)
	must(h.t, err)
	return runtime.Artifact{Slug: &runtime.Slug{URL: "file://" + path, SHA256: sum, Stack: "small"}}
}

// dyno is one on a host. Its output is collected.
type dyno struct {
	*host
	runtime.Container
	out, err *output
	stdio    *runtime.Stdio // what the last Launch gave
}

// container is a dyno that is not made yet.
func (h *host) container(a runtime.Artifact) *dyno {
	h.t.Helper()
	d := &dyno{host: h, Container: runtime.Container{
		ID: uuid.NewString(), Slot: h.slots, Artifact: a,
		Limits:    runtime.Limits{Memory: 64 << 20, Pids: 64, CPUWeight: 100},
		Namespace: h.lab.Host(), Sysfs: h.sysfs,
		Hosts: []byte("127.0.0.1 localhost\n"), Resolv: []byte("nameserver 192.0.2.1\n"),
	}}
	d.Hostname = d.ID
	h.slots++
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), time.Minute)
		defer cancel()
		if err := h.Delete(ctx, d.ID); err != nil {
			h.t.Errorf("delete dyno at the end: %v", err)
		}
	})
	return d
}

// nobody is a dyno that is never made.
const nobody = "00000000-0000-4000-8000-00000000dead"

// Prepare prepares an artifact for nobody.
func (h *host) Prepare(ctx context.Context, a runtime.Artifact) (runtime.Prepared, error) {
	return h.Runtime.Prepare(ctx, nobody, a)
}

// created is a dyno whose container waits to be started.
func (h *host) created(a runtime.Artifact) *dyno {
	h.t.Helper()
	d := h.container(a)
	_, err := h.Runtime.Prepare(h.ctx, d.ID, a)
	must(h.t, err)
	must(h.t, h.Create(h.ctx, d.Container))
	return d
}

// run is a dyno that runs a shell script.
func (h *host) run(a runtime.Artifact, script string) *dyno {
	h.t.Helper()
	d := h.created(a)
	must(h.t, d.Start(h.ctx, d.ID))
	must(h.t, d.launch("sh", "-c", script))
	return d
}

func (d *dyno) launch(args ...string) error {
	return d.launchPlan(runtime.Plan{Args: args, Env: []string{"PATH=/usr/bin:/bin", "HOME=/app"}, Dir: "/app"})
}

func (d *dyno) launchPlan(plan runtime.Plan) error {
	d.t.Helper()
	d.out, d.err = newOutput(d.t), newOutput(d.t)
	plan.Stdout, plan.Stderr, plan.Keep = d.out.w, d.err.w, []*os.File{d.out.r, d.err.r, d.out.r, d.err.r}
	stdio, err := d.Launch(d.ctx, d.ID, plan)
	d.stdio = stdio
	_ = d.out.w.Close()
	_ = d.err.w.Close()
	return err
}

func (d *dyno) wait() runtime.Exit {
	d.t.Helper()
	exit, err := d.Wait(d.ctx, d.ID)
	must(d.t, err)
	return exit
}

// output reads a pipe to its end.
type output struct {
	r, w *os.File
	done chan struct{}
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // has a token when there is more
}

func newOutput(t *testing.T) *output {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _ = w.Close() })
	o := collect(t, r)
	o.w = w
	return o
}

// collect reads a file to its end.
func collect(t *testing.T, r *os.File) *output {
	t.Helper()
	o := &output{r: r, done: make(chan struct{}), more: make(chan struct{}, 1)}
	go o.read()
	t.Cleanup(func() {
		_ = r.Close()
		<-o.done
	})
	return o
}

func (o *output) read() {
	defer close(o.done)
	buffer := make([]byte, 64<<10)
	for {
		n, err := o.r.Read(buffer)
		o.mu.Lock()
		o.text.Write(buffer[:n])
		o.mu.Unlock()
		select {
		case o.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// all is everything up to the end of the pipe.
func (o *output) all(ctx context.Context, t *testing.T) string {
	t.Helper()
	select {
	case <-o.done:
	case <-ctx.Done():
		t.Fatalf("pipe did not end; it has %q", o)
	}
	return o.String()
}

// await waits until the output contains text.
func (o *output) await(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.more:
		case <-o.done:
			if !strings.Contains(o.String(), text) {
				t.Fatalf("output ended without %q: %q", text, o)
			}
		case <-ctx.Done():
			t.Fatalf("output has no %q: %q", text, o)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually asks until it is true.
func eventually(ctx context.Context, t *testing.T, what string, ask func() bool) {
	t.Helper()
	for !ask() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// alive says whether a process of the machine exists.
func alive(pid int) bool { return unix.Kill(pid, 0) == nil }
