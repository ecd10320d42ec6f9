package runtime_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dynod/dynod/runtime"
)

// registered is a registry with a door in front of it, which may answer instead: it returns whether it did.
func registered(t *testing.T, door func(http.ResponseWriter, *http.Request) bool) (host string) {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !door(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// pushed is an image with a configuration, in a registry; it returns its digest.
func pushed(t *testing.T, host string, image v1.Image, change func(*v1.Config)) string {
	t.Helper()
	config, err := image.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	change(&config.Config)
	image, err = mutate.ConfigFile(image, config)
	must(t, err)
	ref, err := name.ParseReference(host+"/app:v1", name.Insecure)
	must(t, err)
	must(t, remote.Write(ref, image))
	sum, err := image.Digest()
	must(t, err)
	return sum.String()
}

// TestMirror pulls an image of a registry that does not exist from where hosts.toml says.
func TestMirror(t *testing.T) {
	var mu sync.Mutex
	var closed bool
	var shown []string
	host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if auth := r.Header.Get("Authorization"); auth != "" {
			shown = append(shown, auth)
		}
		if closed {
			w.Header().Set("WWW-Authenticate", `Basic realm="mirror"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
		return closed
	})
	hosts := t.TempDir()
	const upstream = "127.0.0.1:9" // where nobody answers
	dir := filepath.Join(hosts, "127.0.0.1_9_")
	must(t, os.Mkdir(dir, 0o755))
	toml := fmt.Sprintf("server = \"https://"+upstream+"\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", host)
	must(t, os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(toml), 0o644))
	h := newHost(t, func(c *runtime.Config) { c.RegistryHostsDir = hosts })
	image := hostile(t, h.config.Stacks["small"], 1)
	sum := pushed(t, host, image, func(c *v1.Config) { c.WorkingDir = "/srv" })
	a := runtime.Artifact{Image: &runtime.Image{Ref: upstream + "/app@" + sum, Username: "app", Password: "secret"}}
	prepared, err := h.Prepare(h.ctx, a)
	if err != nil || prepared.Dir != "/srv" {
		t.Fatalf("prepared %+v, %v", prepared, err)
	}
	mu.Lock()
	closed = true
	mu.Unlock()
	a.Image.Ref = upstream + "/app:v1" // a tag is asked for anew
	if _, err := h.Prepare(h.ctx, a); err == nil {
		t.Error("pulled from a mirror that wants an account")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(shown) != 0 {
		t.Errorf("the mirror was shown %q", shown)
	}
}

// blob is a part of an image.
type blob struct {
	digest string
	data   []byte
}

func firstLayer(t *testing.T, image v1.Image) *blob {
	t.Helper()
	layers, err := image.Layers()
	must(t, err)
	digest, err := layers[0].Digest()
	must(t, err)
	compressed, err := layers[0].Compressed()
	must(t, err)
	defer compressed.Close()
	data, err := io.ReadAll(compressed)
	must(t, err)
	return &blob{digest.String(), data}
}

// TestStalledPull: the registry sends half of a layer and then nothing.
func TestStalledPull(t *testing.T) {
	var stall atomic.Bool
	var large atomic.Pointer[blob]
	var ranges atomic.Int64
	host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
		b := large.Load()
		if b == nil || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, b.digest) {
			return false
		}
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		if !stall.Load() {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.data))
			return true
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b.data)))
		_, _ = w.Write(b.data[:len(b.data)/2])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries, c.Stall = []string{host}, 2*time.Second })
	image := hostile(t, h.config.Stacks["small"], 0)
	sum := pushed(t, host, image, func(*v1.Config) {})
	large.Store(firstLayer(t, image))
	stall.Store(true)
	a := runtime.Artifact{Image: &runtime.Image{Ref: host + "/app@" + sum}}
	begun := time.Now()
	_, err := h.Prepare(h.ctx, a)
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "no data from "+host+" for 2s") {
		t.Errorf("stalled: %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	stall.Store(false)
	var last runtime.Progress
	for p, err := range h.Fetch(h.ctx, a) {
		must(t, err)
		last = p
	}
	if last.Total < 1<<20 || last.Fetched < last.Total/3 || last.Fetched > last.Total*2/3 || ranges.Load() == 0 {
		t.Errorf("progress %+v of the second half, %d parts asked for", last, ranges.Load())
	}
	if d := h.run(a, "true"); d.wait().Code != 0 {
		t.Errorf("image does not run: %s", d.err)
	}
}

// TestImageConfigurations are read as far as they are honoured, and no further.
func TestImageConfigurations(t *testing.T) {
	host := registered(t, func(http.ResponseWriter, *http.Request) bool { return false })
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image := hostile(t, h.config.Stacks["small"], 0)
	const label = "io.buildpacks.build.metadata"
	prepare := func(change func(*v1.Config)) (runtime.Prepared, error) {
		return h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app@" + pushed(t, host, image, change)}})
	}
	metadata := `{"bom": null, "processes": [
		{"type": "web", "command": "bin/web", "args": ["-p"], "direct": false, "buildpackID": "x"},
		{"type": "worker", "command": ["bin/worker", "-v"], "args": null, "direct": true, "default": true, "working-dir": "/x"}]}`
	for what, c := range map[string]struct {
		change func(*v1.Config)
		want   *runtime.Buildpacks
		wrong  bool
	}{
		"no buildpacks":        {func(*v1.Config) {}, nil, false},
		"buildpacks":           {func(c *v1.Config) { c.Labels[label], c.Env = metadata, []string{"CNB_PLATFORM_API=0.12"} }, &runtime.Buildpacks{Types: []string{"web", "worker"}}, false},
		"old interface":        {func(c *v1.Config) { c.Labels[label], c.Env = metadata, []string{"CNB_PLATFORM_API=0.3"} }, &runtime.Buildpacks{Types: []string{"web", "worker"}, Legacy: true}, false},
		"no interface":         {func(c *v1.Config) { c.Labels[label] = metadata }, &runtime.Buildpacks{Types: []string{"web", "worker"}, Legacy: true}, false},
		"newer interface":      {func(c *v1.Config) { c.Labels[label], c.Env = metadata, []string{"CNB_PLATFORM_API=1.0"} }, &runtime.Buildpacks{Types: []string{"web", "worker"}}, false},
		"no processes":         {func(c *v1.Config) { c.Labels[label] = `{}` }, &runtime.Buildpacks{Legacy: true}, false},
		"no JSON":              {func(c *v1.Config) { c.Labels[label] = `processes` }, nil, true},
		"another shape":        {func(c *v1.Config) { c.Labels[label] = `{"processes": {"web": 1}}` }, nil, true},
		"a long label":         {func(c *v1.Config) { c.Labels[label] = `{"x": "` + strings.Repeat("x", 1<<20) + `"}` }, nil, true},
		"a huge configuration": {func(c *v1.Config) { c.User = strings.Repeat("x", 5<<20) }, nil, true},
	} {
		got, err := prepare(c.change)
		if c.wrong {
			if !errdefs.IsInvalidArgument(err) || len(err.Error()) > 1000 {
				t.Errorf("%s: %.200v", what, err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got.Buildpacks); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
}

// TestTagMoves between the preparation of a dyno and its start, and what nobody holds is removed meanwhile: command and
// files are of the same image all the same.
func TestTagMoves(t *testing.T) {
	host := registered(t, func(http.ResponseWriter, *http.Request) bool { return false })
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	pushed(t, host, hostile(t, h.config.Stacks["small"], 2), func(c *v1.Config) { c.WorkingDir = "/first" })
	a := runtime.Artifact{Image: &runtime.Image{Ref: host + "/app:v1"}}
	c := h.container(a)
	prepared, err := h.Runtime.Prepare(h.ctx, c.ID, a)
	must(t, err)
	pushed(t, host, hostile(t, h.config.Stacks["small"], 3), func(c *v1.Config) { c.WorkingDir = "/second" })
	moved, err := h.Prepare(h.ctx, a)
	must(t, err)
	if prepared.Dir != "/first" || moved.Dir != "/second" {
		t.Fatalf("prepared %+v, then %+v", prepared, moved)
	}
	if _, err := h.Remove(h.ctx); err != nil {
		t.Fatal(err)
	}
	must(t, h.Create(h.ctx, c.Container))
	layer, err := os.ReadFile(filepath.Join(h.config.RunDir, c.ID, "rootfs", "layer"))
	if err != nil || string(layer) != "1" {
		t.Errorf("the topmost layer is %q, %v; want that of the first image", layer, err)
	}
}
