package lab_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/image-spec/identity"

	"github.com/dynod/dynod/test/lab"
)

// TestRadicaleServes runs the slug on its stack without dynod: in a changed root, outside, asked from the host.
func TestRadicaleServes(t *testing.T) {
	l := lab.New(t)
	stack, err := lab.PythonStack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := mountStack(t, l, stack)
	slug, _, err := lab.RadicaleSlug(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xzf", slug, "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("unpack slug: %v\n%s", err, out)
	}
	serve := l.Command(l.Outside(), "chroot", root, "/bin/bash", "-c", ". /app/.profile.d/python.sh; exec "+lab.RadicaleCommand)
	serve.Env = append(serve.Env, "PORT=5232")
	serve.Stdout, serve.Stderr = t.Output(), t.Output()
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = serve.Process.Kill(), serve.Wait() }() // nothing may write to t.Output after the test
	fetch(t, l, "http://"+lab.OutsideAddress+":5232/.web/")
}

// mountStack imports an archive and mounts a writable root of it.
func mountStack(t *testing.T, l *lab.Lab, archive string) string {
	t.Helper()
	ctx, client := dial(t, l)
	img := importStack(ctx, t, client, archive)
	layers, err := img.RootFS(ctx)
	if err != nil {
		t.Fatal(err)
	}
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": time.Now().Format(time.RFC3339)})
	mounts, err := client.SnapshotService("overlayfs").Prepare(ctx, "root", identity.ChainID(layers).String(), keep)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(l.Dir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mount.All(mounts, root); err != nil {
		t.Fatal(err)
	}
	return root
}

// fetch asks from the host's namespace until the page is there, for at most 30 s.
func fetch(t *testing.T, l *lab.Lab, url string) {
	t.Helper()
	client := l.Client(l.Host())
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		response, err := client.Get(url)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("status %s", response.Status)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
