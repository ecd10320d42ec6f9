package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/dynod/dynod/runtime/rootfs"
)

// Delete removes everything of a dyno, killing it first if it lives. It does as much as it can: each piece may be
// missing, and one that cannot be removed does not keep the others. nil when nothing is left; otherwise call it again.
// It takes at most 30 s. Its artifact is free to be removed then.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if err := r.remove(ctx, id); err != nil {
		return err
	}
	r.cache.Release(id)
	r.mu.Lock()
	delete(r.prepared, id)
	r.mu.Unlock()
	return nil
}

// remove is Delete, but the dyno goes on to hold its artifact.
func (r *Runtime) remove(ctx context.Context, id string) error {
	if err := check(id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	place := r.place(id)
	// The kill needs no containerd. With it behind us, nothing runs on what is taken away below.
	if err := r.group(id).Kill(ctx); err != nil {
		return fmt.Errorf("delete dyno %s: %w", id, err)
	}
	r.forget(id)
	r.shims.leave(place.container)
	err := errors.Join(
		r.deleteTask(ctx, id),
		r.deleteContainer(ctx, id),
		r.group(id).Remove(ctx),
		rootfs.Unmount(place.run),
	)
	if err == nil {
		err = r.removeDisk(ctx, place)
	}
	if err == nil { // as long as it is there, it says where the rest is
		err = os.RemoveAll(place.run)
	}
	if err != nil {
		return fmt.Errorf("delete dyno %s: %w", id, err)
	}
	return nil
}

// deleteTask waits until the shim has seen the end of the task: only then it can be deleted.
func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	_, err := r.task(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	done, err := r.deleting.take(ctx)
	if err != nil {
		return fmt.Errorf("wait for a turn: %w", err)
	}
	defer done()
	service := r.client.TaskService()
	_, err = service.Wait(ctx, &tasks.WaitRequest{ContainerID: r.container(id)})
	if err := ignoreNotFound(errgrpc.ToNative(err)); err != nil {
		return fmt.Errorf("wait for task: %w", err)
	}
	_, err = service.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: r.container(id)})
	if err := ignoreNotFound(errgrpc.ToNative(err)); err != nil {
		return fmt.Errorf("delete task: %w", err)
	}
	return nil
}

func (r *Runtime) deleteContainer(ctx context.Context, id string) error {
	if err := ignoreNotFound(r.client.ContainerService().Delete(ctx, r.container(id))); err != nil {
		return fmt.Errorf("delete container: %w", err)
	}
	return nil
}
