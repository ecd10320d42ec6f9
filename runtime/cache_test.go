package runtime_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/uuid"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/lab"
)

// cached is the artifact of that name, if it is there.
func (h *host) cached(name string) (runtime.Cached, bool) {
	h.t.Helper()
	all, err := h.Artifacts(h.ctx)
	must(h.t, err)
	for _, c := range all {
		if c.Name == name {
			return c, true
		}
	}
	return runtime.Cached{}, false
}

// removed tries to remove an artifact and says whether it went.
func (h *host) removed(name string) bool {
	h.t.Helper()
	gone, err := h.Remove(h.ctx, name)
	must(h.t, err)
	return len(gone) == 1 && gone[0] == name
}

func slugName(a runtime.Artifact) string { return "SHA256:" + a.Slug.SHA256 }

// TestSlugInUseStays has a dyno look at its files after everything was tried to take them away.
func TestSlugInUseStays(t *testing.T) {
	h := newHost(t)
	a := h.slug(map[string]lab.File{"late": {Data: "still here\n"}})
	d := h.run(a, "read x </dev/null; while ! test -e go; do sleep 0.01; done; cat late")
	c, ok := h.cached(slugName(a))
	if !ok || c.References != 1 || c.Bytes < 4096 || c.Stack || time.Since(c.Used) > time.Minute || c.Disk.Free <= 0 || c.Disk.Bytes <= c.Disk.Free {
		t.Errorf("in use: %+v", c)
	}
	if h.removed(slugName(a)) {
		t.Fatal("a slug in use was removed")
	}
	other := h.slug(map[string]lab.File{"other": {}})
	_, err := h.Prepare(h.ctx, other)
	must(t, err)
	h.restart()
	if c, _ := h.cached(slugName(a)); c.References != 1 {
		t.Errorf("after a restart: %+v", c)
	}
	if !h.removed(slugName(other)) {
		t.Error("a dyno holds what it does not use")
	}
	if h.removed(slugName(a)) {
		t.Fatal("a slug in use was removed after a restart")
	}
	must(t, os.WriteFile(d.file("app/go"), nil, 0o644))
	if exit := d.wait(); exit.Code != 0 {
		t.Errorf("got %+v: %s", exit, d.err)
	}
	if h.removed(slugName(a)) {
		t.Error("a slug was removed while its dyno is not deleted")
	}
	must(t, h.Delete(h.ctx, d.ID))
	if c, _ := h.cached(slugName(a)); c.References != 0 || !h.removed(slugName(a)) {
		t.Errorf("of a deleted dyno: %+v", c)
	}
	left, err := os.ReadDir(filepath.Join(h.config.Dir, "slugs"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if got := h.run(a, "cat late"); got.wait().Code != 0 || got.out.all(h.ctx, t) != "still here\n" {
		t.Errorf("fetched again: %s", got.out)
	}
}

// TestPreparedStays: a dyno that has no container yet, or none between two lives.
func TestPreparedStays(t *testing.T) {
	h := newHost(t)
	a, id := h.slug(nil), uuid.NewString()
	_, err := h.Runtime.Prepare(h.ctx, id, a)
	must(t, err)
	if h.removed(slugName(a)) {
		t.Error("removed although a dyno was about to start")
	}
	must(t, h.Delete(h.ctx, id))
	must(t, h.Keep(id, a))
	if h.removed(slugName(a)) {
		t.Error("removed although a dyno kept it")
	}
	must(t, h.Delete(h.ctx, id))
	if !h.removed(slugName(a)) {
		t.Error("still in use")
	}
}

// TestUnknownDynoKeepsAll: an older agent left a dyno of which it is not written down what it uses.
func TestUnknownDynoKeepsAll(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "exec sleep 60")
	other := h.slug(map[string]lab.File{"other": {}})
	_, err := h.Runtime.Prepare(h.ctx, nobody, other)
	must(t, err)
	must(t, h.Delete(h.ctx, nobody))
	must(t, os.Remove(filepath.Join(h.config.RunDir, d.ID, "artifact.json")))
	h.restart()
	if h.removed(slugName(other)) {
		t.Error("removed what a dyno might use")
	}
	must(t, h.Delete(h.ctx, d.ID))
	if !h.removed(slugName(other)) {
		t.Error("kept for a dyno that is gone")
	}
}

// TestRemovalAndStartsAtOnce: whatever the order, a dyno that was created has its files.
func TestRemovalAndStartsAtOnce(t *testing.T) {
	h := newHost(t)
	a := h.slug(map[string]lab.File{"x": {Data: "here\n"}})
	done := make(chan struct{})
	var pruner sync.WaitGroup
	pruner.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := h.Remove(h.ctx, slugName(a)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5 {
		d := h.run(a, "cat x")
		if exit := d.wait(); exit.Code != 0 {
			t.Errorf("got %+v: %s", exit, d.err)
		}
		must(t, h.Delete(h.ctx, d.ID))
	}
	close(done)
	pruner.Wait()
}

// registryHost is a host with a registry, and an image of the small stack with one more file.
func registryHost(t *testing.T) (h *host, registryName string, push func(tag, content string) v1.Image) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	registryName = strings.TrimPrefix(server.URL, "http://")
	h = newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{registryName} })
	base := hostile(t, h.config.Stacks["small"], 0)
	return h, registryName, func(tag, content string) v1.Image {
		t.Helper()
		image, err := mutate.AppendLayers(base, layerOf(t, "file", content))
		must(t, err)
		ref, err := name.ParseReference(registryName+"/app:"+tag, name.Insecure)
		must(t, err)
		must(t, remote.Write(ref, image))
		return image
	}
}

// TestImageInUseStays also moves a tag while a dyno runs from where it was.
func TestImageInUseStays(t *testing.T) {
	h, host, push := registryHost(t)
	push("v1", "old\n")
	ref := host + "/app:v1"
	a := runtime.Artifact{Image: &runtime.Image{Ref: ref}}
	old := h.run(a, "while ! test -e /tmp/go; do sleep 0.01; done; cat /file")
	if c, ok := h.cached(ref); !ok || c.References != 1 || c.Bytes < 1<<20 || c.Disk.Bytes == 0 {
		t.Errorf("in use: %+v", c)
	}
	push("v1", "new\n")
	fresh := h.run(a, "cat /file")
	fresh.wait()
	if got := fresh.out.all(h.ctx, t); got != "new\n" {
		t.Errorf("moved tag: %q", got)
	}
	must(t, h.Delete(h.ctx, fresh.ID))
	if h.removed(ref) {
		t.Error("an image in use was removed")
	}
	h.restart()
	if h.removed(ref) {
		t.Error("an image in use was removed after a restart")
	}
	must(t, os.WriteFile(old.file("tmp/go"), nil, 0o644))
	old.wait()
	if got := old.out.all(h.ctx, t); got != "old\n" {
		t.Errorf("dyno of the tag's old place: %q, %s", got, old.err)
	}
	must(t, h.Delete(h.ctx, old.ID))
	before := h.snapshots()
	if !h.removed(ref) {
		t.Error("still in use")
	}
	if _, ok := h.cached(ref); ok {
		t.Error("removed and still there")
	}
	// Two views, the layers of two contents; the stack is not in containerd here.
	if after := h.snapshots(); after != 0 || before < 4 {
		t.Errorf("%d snapshots, then %d", before, after)
	}
}

// snapshots counts those on disk.
func (h *host) snapshots() int {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.lab.Dir(), "*", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*"))
	must(h.t, err)
	return len(found)
}

// TestStacksStay: they are never removed, nor is an image that shares their layers harmful to remove.
func TestStacksStay(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	_, err := h.Prepare(h.ctx, a)
	must(t, err)
	must(t, h.Delete(h.ctx, nobody))
	all, err := h.Artifacts(h.ctx)
	must(t, err)
	var stacks int
	for _, c := range all {
		if c.Stack {
			stacks++
			if c.References != 0 || h.removed(c.Name) {
				t.Errorf("removed %+v", c)
			}
		}
	}
	if stacks != 1 || len(all) != 2 {
		t.Errorf("cached %+v", all)
	}
	if d := h.run(a, "cat hello"); d.wait().Code != 0 {
		t.Errorf("the stack does not work any more: %s", d.err)
	}
}

// TestTenDynosFetchOnce is ten dynos of one release that are ordered at once on a host that has nothing of it.
func TestTenDynosFetchOnce(t *testing.T) {
	path, sum, err := lab.Slug(map[string]lab.File{"x": {Data: "shared\n"}})
	must(t, err)
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.ServeFile(w, r, path)
	}))
	t.Cleanup(server.Close)
	h := newHost(t, func(c *runtime.Config) { c.AllowHTTP = true })
	a := runtime.Artifact{Slug: &runtime.Slug{URL: server.URL, SHA256: sum, Stack: "small"}}
	var dynos [10]*dyno
	for i := range dynos {
		dynos[i] = h.container(a)
	}
	var group sync.WaitGroup
	for _, d := range dynos {
		group.Go(func() {
			if _, err := h.Runtime.Prepare(h.ctx, d.ID, a); err != nil {
				t.Error(err)
				return
			}
			if err := h.Create(h.ctx, d.Container); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, d := range dynos {
		must(t, d.Start(h.ctx, d.ID))
		must(t, d.launch("cat", "x"))
		if d.wait(); d.out.all(h.ctx, t) != "shared\n" {
			t.Errorf("output %q: %s", d.out, d.err)
		}
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	if c, _ := h.cached(slugName(a)); c.References != 10 {
		t.Errorf("cached %+v", c)
	}
}

// TestOwnURLIsTried is a dyno whose slug somebody else is just fetching from a URL that does not work.
func TestOwnURLIsTried(t *testing.T) {
	path, sum, err := lab.Slug(map[string]lab.File{"x": {Data: "own\n"}})
	must(t, err)
	asked, fail := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/good" {
			http.ServeFile(w, r, path)
			return
		}
		close(asked)
		<-fail
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	h := newHost(t, func(c *runtime.Config) { c.AllowHTTP = true })
	slug := func(path string) runtime.Artifact {
		return runtime.Artifact{Slug: &runtime.Slug{URL: server.URL + path, SHA256: sum, Stack: "small"}}
	}
	bad, good := h.container(slug("/bad")), h.container(slug("/good"))
	errs := make(chan error, 1)
	go func() {
		_, err := h.Runtime.Prepare(h.ctx, bad.ID, slug("/bad"))
		errs <- err
	}()
	<-asked
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		_, err := h.Runtime.Prepare(h.ctx, good.ID, slug("/good"))
		if err != nil {
			t.Errorf("the good URL: %v", err)
		}
	}()
	// The first progress of Fetch says that it has joined.
	for _, err := range h.Fetch(h.ctx, slug("/good")) {
		if err != nil {
			t.Errorf("the good URL, ahead: %v", err)
		}
		once.Do(func() { close(fail) })
	}
	if err := <-errs; err == nil {
		t.Error("the bad URL is good")
	}
	<-joined
}
