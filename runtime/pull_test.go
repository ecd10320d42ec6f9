package runtime_test

import (
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/dynod/dynod/runtime"
)

// largeLayer is an image with a layer that is too large to be read into memory, and that layer's digest.
func largeLayer(t *testing.T, h *host) (v1.Image, string) {
	t.Helper()
	data := make([]byte, 6<<20)
	_, err := rand.Read(data)
	must(t, err)
	layer := layerOf(t, "large", string(data))
	image, err := mutate.AppendLayers(hostile(t, h.config.Stacks["small"], 0), layer)
	must(t, err)
	digest, err := layer.Digest()
	must(t, err)
	return image, digest.String()
}

// TestSizesAreNotBelieved: a manifest says of a layer that is here already that it is a small configuration.
func TestSizesAreNotBelieved(t *testing.T) {
	host := registered(t, func(http.ResponseWriter, *http.Request) bool { return false })
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image, large := largeLayer(t, h)
	prepare := func(ref string) error {
		_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app" + ref}})
		return err
	}
	must(t, prepare("@"+pushed(t, host, image, func(*v1.Config) {})))
	const config = `"mediaType":"application/vnd.oci.image.config.v1+json"`
	for _, kind := range []string{
		config, `"mediaType":"application/octet-stream"`, `"mediaType":"application/vnd.oci.image.layer.v1.tar"`,
		config + `,"platform":{"os":"windows","architecture":"amd64"}`,
	} {
		putManifest(t, host, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
			"config":{%s,"digest":%q,"size":100},"layers":[]}`, kind, large))
		if err := prepare(":lies"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than 4194304") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestRootIsNotBelieved: a registry says of a layer that is here already that it is a small manifest.
func TestRootIsNotBelieved(t *testing.T) {
	var large atomic.Pointer[string]
	host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
		lie := large.Load()
		if lie == nil || r.Method != http.MethodHead {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Docker-Content-Digest", *lie)
		return true
	})
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image, digest := largeLayer(t, h)
	prepare := func(ref string) error {
		_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + ref}})
		return err
	}
	must(t, prepare("/app@"+pushed(t, host, image, func(*v1.Config) {})))
	large.Store(&digest)
	for _, ref := range []string{"/x@" + digest, "/x:lies"} {
		if err := prepare(ref); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than 4194304") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// TestSizeIsLookedAtLate: a layer arrives after a pull that says it is a small manifest has looked for it.
func TestSizeIsLookedAtLate(t *testing.T) {
	var large atomic.Pointer[string]
	asked, answer := make(chan string, 10), make(chan struct{})
	host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
		lie := large.Load()
		if lie == nil || !strings.HasSuffix(r.URL.Path, "/manifests/"+*lie) {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", "100")
		asked <- r.Method
		if r.Method == http.MethodGet {
			<-answer
		}
		return true
	})
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image, digest := largeLayer(t, h)
	large.Store(&digest)
	prepare := func(ref string) error {
		_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + ref}})
		return err
	}
	var pulls sync.WaitGroup
	defer pulls.Wait()
	defer close(answer)
	pulls.Go(func() { _ = prepare("/first@" + digest) }) // holds what the second waits for
	<-asked
	<-asked
	second := make(chan error, 1)
	pulls.Go(func() { second <- prepare("/second@" + digest) })
	<-asked
	time.Sleep(500 * time.Millisecond) // until it waits
	must(t, prepare("/app@"+pushed(t, host, image, func(*v1.Config) {})))
	if err := <-second; !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than 4194304") {
		t.Errorf("got %v", err)
	}
}

// TestPartsElsewhere: a manifest says of its parts that another server has them, which may be one of the host's own.
func TestPartsElsewhere(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer elsewhere.Close()
	host := registered(t, func(http.ResponseWriter, *http.Request) bool { return false })
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image := hostile(t, h.config.Stacks["small"], 1)
	pushed(t, host, image, func(*v1.Config) {})
	putChanged(t, host, image, func(m *v1.Manifest) {
		m.Config.URLs = []string{elsewhere.URL + "/config"}
		for i := range m.Layers {
			m.Layers[i].URLs = []string{elsewhere.URL + "/layer"}
		}
	})
	_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app:lies"}})
	if err != nil || asked.Load() != 0 {
		t.Errorf("%v; the other server was asked %d times", err, asked.Load())
	}
}

// TestLayersAreBounded in their number, and in how many of them are fetched at once.
func TestLayersAreBounded(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	host := registered(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(50 * time.Millisecond) // for others to come meanwhile
		mu.Lock()
		defer mu.Unlock()
		now--
		return false
	})
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image := hostile(t, h.config.Stacks["small"], 12)
	prepare := func(ref string) error {
		_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app" + ref}})
		return err
	}
	must(t, prepare("@"+pushed(t, host, image, func(*v1.Config) {})))
	mu.Lock()
	if most < 2 || most > 4 {
		t.Errorf("%d layers were fetched at once", most)
	}
	mu.Unlock()
	putChanged(t, host, image, func(m *v1.Manifest) { m.Layers = slices.Repeat(m.Layers, 501)[:501] })
	if err := prepare(":lies"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "501 layers") {
		t.Errorf("too many layers: %v", err)
	}
}

// putChanged is the manifest of an image that is there, with a change that no tool would make.
func putChanged(t *testing.T, host string, image v1.Image, change func(*v1.Manifest)) {
	t.Helper()
	manifest, err := image.Manifest()
	must(t, err)
	manifest = manifest.DeepCopy()
	change(manifest)
	text, err := json.Marshal(manifest)
	must(t, err)
	putManifest(t, host, string(text))
}

func putManifest(t *testing.T, host, manifest string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/app/manifests/lies", strings.NewReader(manifest))
	must(t, err)
	request.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	must(t, response.Body.Close())
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("the registry says %s", response.Status)
	}
}

// TestSignedURLsStayOutOfErrors: a registry leads to a storage that does not answer.
func TestSignedURLsStayOutOfErrors(t *testing.T) {
	host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
		away := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:")
		if away {
			http.Redirect(w, r, "http://127.0.0.1:9/part?signature=secret&expires=1", http.StatusTemporaryRedirect)
		}
		return away
	})
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	sum := pushed(t, host, hostile(t, h.config.Stacks["small"], 0), func(*v1.Config) {})
	_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app@" + sum}})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1:9/part") {
		t.Errorf("got %v", err)
	}
}

// TestTokensAreBounded: a registry's tokens are larger than what an agent has of memory.
func TestTokensAreBounded(t *testing.T) {
	const large = 32 << 20
	for what, c := range map[string]struct {
		path   string
		packed bool
	}{
		"long":           {path: "/token"},
		"packed":         {path: "/token", packed: true},
		"called a blob":  {path: "/v2/app/blobs/token"},
		"somewhere else": {path: "/away"},
	} {
		t.Run(what, func(t *testing.T) {
			host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch r.URL.Path {
				case "/away":
					http.Redirect(w, r, "/token", http.StatusTemporaryRedirect)
				case "/token", c.path:
					var body io.Writer = w
					if c.packed {
						w.Header().Set("Content-Encoding", "gzip")
						z := gzip.NewWriter(w)
						defer z.Close()
						body = z
					}
					_, _ = io.WriteString(body, `{"token":"`+strings.Repeat("x", large)+`"}`)
				default:
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s%s",service="x"`, r.Host, c.path))
					w.WriteHeader(http.StatusUnauthorized)
				}
				return true
			})
			h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
			_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app:v1"}})
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than 4194304 bytes") {
				t.Errorf("got %.300v", err)
			}
		})
	}
}

// TestRegistryLeadsToMetadata: a registry's storage is where a cloud serves credentials.
func TestRegistryLeadsToMetadata(t *testing.T) {
	host := registered(t, func(w http.ResponseWriter, r *http.Request) bool {
		away := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:")
		if away {
			http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusTemporaryRedirect)
		}
		return away
	})
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	sum := pushed(t, host, hostile(t, h.config.Stacks["small"], 0), func(*v1.Config) {})
	_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app@" + sum}})
	if err == nil || !strings.Contains(err.Error(), "not an address for artifacts") {
		t.Errorf("got %v", err)
	}
}
