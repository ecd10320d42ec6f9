package lab_test

import (
	"fmt"
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

// TestThirdPartiesServe runs their slugs on their stack without dynod: in a changed root, outside, asked from the host.
func TestThirdPartiesServe(t *testing.T) {
	l := lab.New(t)
	stack, err := lab.AppStack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := mountStack(t, l, stack)
	for i, app := range lab.ThirdParties() {
		t.Run(app.Name, func(t *testing.T) { serve(t, l, root, app, 5000+i) })
	}
}

func serve(t *testing.T, l *lab.Lab, root string, app lab.ThirdParty, port int) {
	t.Helper()
	slug, _, err := app.Slug(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("sh", "-c", `rm -rf "$2/app" && tar -xzf "$1" -C "$2"`, "sh", slug, root)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpack slug: %v\n%s", err, out)
	}
	serve := l.Command(l.Outside(), "chroot", root, "/bin/bash", "-c", "cd /app; . .profile.d/app.sh; exec "+app.Command)
	serve.Env = append(serve.Env, fmt.Sprintf("PORT=%d", port))
	serve.Stdout, serve.Stderr = t.Output(), t.Output()
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = serve.Process.Kill(), serve.Wait() }() // nothing may write to t.Output after the test
	fetch(t, l, fmt.Sprintf("http://%s:%d%s", lab.OutsideAddress, port, app.Page))
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
