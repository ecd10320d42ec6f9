package runtime_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/dynod/dynod/runtime"
)

// TestSizesAreNotBelieved: a manifest says of a layer that is here already that it is a small configuration.
func TestSizesAreNotBelieved(t *testing.T) {
	host := registered(t, func(http.ResponseWriter, *http.Request) bool { return false })
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	data := make([]byte, 6<<20)
	_, err := rand.Read(data)
	must(t, err)
	image, err := mutate.AppendLayers(hostile(t, h.config.Stacks["small"], 0), layerOf(t, "large", string(data)))
	must(t, err)
	prepare := func(ref string) error {
		_, err := h.Prepare(h.ctx, runtime.Artifact{Image: &runtime.Image{Ref: host + "/app" + ref}})
		return err
	}
	must(t, prepare("@"+pushed(t, host, image, func(*v1.Config) {})))
	layers, err := image.Layers()
	must(t, err)
	large, err := layers[len(layers)-1].Digest()
	must(t, err)
	for _, kind := range []string{"application/vnd.oci.image.config.v1+json", "application/octet-stream", "application/vnd.oci.image.layer.v1.tar"} {
		putManifest(t, host, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
			"config":{"mediaType":%q,"digest":%q,"size":100},"layers":[]}`, kind, large))
		if err := prepare(":lies"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than 4194304") {
			t.Errorf("%s: %v", kind, err)
		}
	}
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
