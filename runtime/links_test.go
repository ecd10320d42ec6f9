package runtime_test

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/dynod/dynod/runtime"
)

// An image whose directories are links, away from the dyno or to places of its own, gets the same dyno as any other.
func TestLinksInAnImageLeadNowhere(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	h := newHost(t, func(c *runtime.Config) { c.PlainHTTPRegistries = []string{host} })
	image := linked(t, h.config.Stacks["small"], map[string]string{
		"etc": "/proc", "app": "../../../../../../tmp", "tmp": "/etc", "var": "/usr", "run": "/", "dyno-init": "/bin/false",
		"dev": "/app", "proc": "/app", "sys": "/app",
	})
	ref, err := name.ParseReference(host+"/links:v1", name.Insecure)
	must(t, err)
	must(t, remote.Write(ref, image))
	a := runtime.Artifact{Image: &runtime.Image{Ref: ref.Name()}}
	_, err = h.Prepare(h.ctx, a)
	must(t, err)
	d := h.container(a)
	d.About = []byte("{}\n")
	must(t, h.Create(h.ctx, d.Container))
	must(t, h.Start(h.ctx, d.ID))
	must(t, d.launch("sh", "-c", `cd /app && pwd -P
for dir in /etc /app /tmp /var /var/tmp /run /dev /proc /sys; do test -L $dir && echo link $dir; done
for dir in /app /tmp /var/tmp; do touch $dir/x && stat -c '%u %F' $dir/x; done
grep :1000: /etc/passwd; cat /etc/heroku/dyno; touch /etc/heroku/dyno 2>/dev/null || echo refused
cat /sys/fs/cgroup/memory/memory.limit_in_bytes`))
	want := "/app\n" + strings.Repeat("1000 regular empty file\n", 3) + "dyno:x:1000:1000:dyno:/app:/bin/sh\n{}\nrefused\n67108864\n"
	if exit, got := d.wait(), d.out.all(h.ctx, t); exit.Code != 0 || got != want {
		t.Errorf("code %d, got %q, want %q; stderr %q", exit.Code, got, want, d.err)
	}
}

// linked is a hostile image with a layer of links above it.
func linked(t *testing.T, archive string, links map[string]string) v1.Image {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for from, to := range links {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: from, Linkname: to, Mode: 0o777}))
	}
	must(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
	must(t, err)
	image, err := mutate.AppendLayers(hostile(t, archive, 0), layer)
	must(t, err)
	return image
}
