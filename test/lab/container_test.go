package lab_test

import (
	"context"
	"os"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/dynod/dynod/test/lab"
)

// dial starts the lab's containerd and returns a client and a context in the agent's namespace.
func dial(t *testing.T, l *lab.Lab) (context.Context, *containerd.Client) {
	t.Helper()
	address, err := l.Containerd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := containerd.New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return namespaces.WithNamespace(t.Context(), l.Namespace()), client
}

// importStack returns the one image of an archive, unpacked.
func importStack(ctx context.Context, t *testing.T, client *containerd.Client, archive string) containerd.Image {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	images, err := client.Import(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 1 {
		t.Fatalf("imported %v", images)
	}
	img := containerd.NewImage(client, images[0])
	if err := img.Unpack(ctx, "overlayfs"); err != nil {
		t.Fatal(err)
	}
	return img
}

// startContainer runs a command on the small stack, below the lab's cgroup.
func startContainer(t *testing.T, l *lab.Lab, id string, args ...string) (context.Context, containerd.Task) {
	t.Helper()
	ctx, client := dial(t, l)
	archive, err := lab.SmallStack(ctx)
	if err != nil {
		t.Fatal(err)
	}
	img := importStack(ctx, t, client, archive)
	c, err := client.NewContainer(ctx, id, containerd.WithSnapshotter("overlayfs"), containerd.WithNewSnapshot(id, img),
		containerd.WithNewSpec(oci.WithImageConfig(img), oci.WithProcessArgs(args...), oci.WithCgroup(l.CgroupParent()+"/"+id)))
	if err != nil {
		t.Fatal(err)
	}
	task, err := c.NewTask(ctx, cio.NullIO)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx, task
}
