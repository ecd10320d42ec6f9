package runtime_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/lab"
)

func TestImageDynoFromAnArchive(t *testing.T) {
	h := newHost(t)
	a := runtime.Artifact{Image: &runtime.Image{Ref: h.config.Stacks["small"]}}
	prepared, err := h.Prepare(h.ctx, a)
	must(t, err)
	if !slices.Equal(prepared.Cmd, []string{"/bin/bash"}) || len(prepared.Env) != 1 {
		t.Errorf("prepared %+v", prepared)
	}
	d := h.run(a, "id -u; touch /tmp/x /var/tmp/y && echo ok; touch /etc/x 2>/dev/null || echo refused; stat -c '%u' /bin/busybox")
	if exit := d.wait(); exit.Code != 0 {
		t.Errorf("got %+v: %s", exit, d.err)
	}
	if got := d.out.all(h.ctx, t); got != "1000\nok\nrefused\n0\n" {
		t.Errorf("output %q", got)
	}
}

// hostile is an image whose configuration asks for what a dyno must not have, of more layers than fit into one
// page of mount options by their paths.
func hostile(t *testing.T, archive string, layers int) v1.Image {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	must(t, os.Mkdir(dir, 0o755))
	untar(t, archive, dir)
	index, err := layout.ImageIndexFromPath(dir)
	must(t, err)
	manifest, err := index.IndexManifest()
	must(t, err)
	image, err := index.Image(manifest.Manifests[0].Digest)
	must(t, err)
	for i := range layers {
		image, err = mutate.AppendLayers(image, layerOf(t, "layer", strconv.Itoa(i)))
		must(t, err)
	}
	config, err := image.ConfigFile()
	must(t, err)
	config.Config.User = "root"
	config.Config.WorkingDir = "/proc"
	config.Config.Entrypoint, config.Config.Cmd = []string{"/bin/sh", "-c"}, []string{"cat /layer"}
	config.Config.Volumes = map[string]struct{}{"/etc": {}}
	config.Config.Labels = map[string]string{"containerd.io/gc.root": "1", "dynod.slot": "99", "big": strings.Repeat("x", 5000)}
	image, err = mutate.ConfigFile(image, config)
	must(t, err)
	return image
}

func TestImageDynoFromARegistry(t *testing.T) {
	const layers = 60
	var pulls atomic.Int64
	inner := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "app" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			pulls.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image := hostile(t, h.config.Stacks["small"], layers)
	ref, err := name.ParseReference(host+"/some/app:v1", name.Insecure)
	must(t, err)
	must(t, remote.Write(ref, image, remote.WithAuth(basic{})))
	sum, err := image.Digest()
	must(t, err)

	pinned := runtime.Artifact{Image: &runtime.Image{Ref: host + "/some/app@" + sum.String()}}
	if _, err := h.Prepare(h.ctx, pinned); err == nil {
		t.Error("pulled without credentials")
	}
	pinned.Image.Username, pinned.Image.Password = "app", "secret"
	prepared, err := h.Prepare(h.ctx, pinned)
	must(t, err)
	if prepared.Dir != "/proc" || !slices.Equal(prepared.Entrypoint, []string{"/bin/sh", "-c"}) {
		t.Errorf("prepared %+v", prepared)
	}
	before := pulls.Load()
	_, err = h.Prepare(h.ctx, pinned)
	must(t, err)
	if after := pulls.Load(); after != before || after == 0 {
		t.Errorf("%d blobs fetched, then %d", before, after-before)
	}
	tag := runtime.Artifact{Image: &runtime.Image{Ref: host + "/some/app:v1", Username: "app", Password: "secret"}}
	_, err = h.Prepare(h.ctx, tag)
	must(t, err)

	d := h.created(tag)
	must(t, d.Start(h.ctx, d.ID))
	must(t, d.launch("sh", "-c", "id -u; cat /layer"))
	d.wait()
	if got := d.out.all(h.ctx, t); got != "1000\n"+strconv.Itoa(layers-1) {
		t.Errorf("output %q: %s", got, d.err)
	}
	found, err := h.List(h.ctx)
	must(t, err)
	if len(found) != 1 || found[0].Slot != d.Slot {
		t.Errorf("found %+v", found)
	}
	if _, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/no/such:v1", Username: "app", Password: "secret"}}); !errdefs.IsNotFound(err) {
		t.Errorf("an image that does not exist: %v", err)
	}
}

func TestDamagedArchiveIsRefused(t *testing.T) {
	h := newHost(t)
	data, err := os.ReadFile(h.config.Stacks["small"])
	must(t, err)
	data[len(data)/2] ^= 0xff // in the layer, which is nearly all of it
	path := filepath.Join(t.TempDir(), "damaged.tar")
	must(t, os.WriteFile(path, data, 0o644))
	if _, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: path}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
}

func TestManyWaitersShareOneFetch(t *testing.T) {
	path, sum, err := lab.Slug(map[string]lab.File{"x": {Data: "shared"}})
	must(t, err)
	var requests atomic.Int64
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		asked <- struct{}{}
		<-answer
		http.ServeFile(w, r, path)
	}))
	defer server.Close()
	h := newHost(t, func(c *runtime.Config) { c.AllowHTTP = true })
	a := runtime.Artifact{Slug: &runtime.Slug{URL: server.URL + "/slug?signature=1", SHA256: "SHA256:" + strings.ToUpper(sum), Stack: "small"}}
	first, cancel := context.WithCancel(h.ctx)
	var waiters sync.WaitGroup
	gone := make(chan error, 1)
	waiters.Go(func() {
		_, err := h.Prepare(first, a)
		gone <- err
	})
	<-asked
	cancel() // the first goes away; the fetch does not
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled waiter: %v", err)
	}
	short, cancel := context.WithTimeout(h.ctx, time.Second) // long enough to ask the server, were they to
	defer cancel()
	for range 4 {
		waiters.Go(func() {
			if _, err := h.Prepare(short, a); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiter: %v", err)
			}
		})
	}
	waiters.Wait()
	close(answer)
	if _, err := h.Prepare(h.ctx, a); err != nil {
		t.Error(err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestWrongSlugIsToldBySum(t *testing.T) {
	h := newHost(t)
	a := h.slug(map[string]lab.File{"x": {Data: "y"}})
	actual := a.Slug.SHA256
	other := sha256.Sum256([]byte("something else"))
	a.Slug.SHA256 = hex.EncodeToString(other[:])
	_, err := h.Prepare(h.ctx, a)
	wrong, ok := errors.AsType[*runtime.ChecksumError](err)
	if !ok || wrong.Actual != actual || wrong.Expected != a.Slug.SHA256 {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Join(h.config.Dir, "slugs"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v (%v)", left, err)
	}
}

func TestArtifactsThatAreRefused(t *testing.T) {
	h := newHost(t)
	sum := strings.Repeat("0", 64)
	for what, c := range map[string]struct {
		a  runtime.Artifact
		is func(error) bool
	}{
		"neither": {runtime.Artifact{}, errdefs.IsInvalidArgument},
		"both":    {runtime.Artifact{Image: &runtime.Image{}, Slug: &runtime.Slug{}}, errdefs.IsInvalidArgument},
		"stack":   {runtime.Artifact{Slug: &runtime.Slug{SHA256: sum, Stack: "other"}}, errdefs.IsNotFound},
		"digest":  {runtime.Artifact{Slug: &runtime.Slug{SHA256: "../../etc", Stack: "small"}}, errdefs.IsInvalidArgument},
		"scheme":  {runtime.Artifact{Slug: &runtime.Slug{URL: "http://192.0.2.1/", SHA256: sum, Stack: "small"}}, errdefs.IsInvalidArgument},
		"ref":     {runtime.Artifact{Image: &runtime.Image{Ref: "Not A Reference"}}, errdefs.IsInvalidArgument},
		"archive": {runtime.Artifact{Image: &runtime.Image{Ref: "/no/such/archive.tar"}}, errdefs.IsNotFound},
	} {
		if _, err := h.Prepare(h.ctx, c.a); !c.is(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestWithoutUserNamespace is the weaker mode, which has to be asked for.
func TestWithoutUserNamespace(t *testing.T) {
	h := newHost(t, func(c *runtime.Config) { c.UserNamespace, c.FirstID = runtime.UserNamespaceOff, 0 })
	d := h.run(h.slug(nil), "id -u; cat hello; touch y && stat -c %u . y; cat /proc/self/uid_map | tr -s ' '; echo x >/dev/stdout; touch /x 2>/dev/null || echo refused")
	if exit := d.wait(); exit.Code != 0 {
		t.Errorf("got %+v: %s", exit, d.err)
	}
	if got := d.out.all(h.ctx, t); got != "1000\nhello\n1000\n1000\n 0 0 4294967295\nx\nrefused\n" {
		t.Errorf("output %q", got)
	}
}
