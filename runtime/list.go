package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// asking is how many tasks are asked for at once. One stuck shim then does not hold up the others.
const asking = 16

// Found is a dyno of which something is on the host.
type Found struct {
	ID    string
	Slot  int // -1: nobody knows
	State State
	PID   int // of dyno-init, while there is a task
}

// List finds every dyno of which anything is left, a container or directories, in the order of ids. It fails when
// containerd cannot say which containers there are; one whose task it does not tell within ten seconds is listed as
// StateUnknown.
func (r *Runtime) List(ctx context.Context) ([]Found, error) {
	slots, err := r.slots(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]Found, 0, len(slots))
	for id, slot := range slots {
		found = append(found, Found{ID: id, Slot: slot})
	}
	var group errgroup.Group
	group.SetLimit(asking)
	for i := range found {
		group.Go(func() error {
			found[i].State, found[i].PID = r.state(ctx, found[i].ID)
			return nil
		})
	}
	err = group.Wait()
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.ID, b.ID) })
	return found, err
}

// state of a container that has not become a whole dyno is that of parts: there is nothing to go on with.
func (r *Runtime) state(ctx context.Context, id string) (State, int) {
	if r.place(id).spare() {
		return StateNone, 0
	}
	t, err := r.task(ctx, id)
	switch {
	case err == nil:
		return t.State, t.PID
	case errdefs.IsNotFound(err):
		return StateNone, 0
	}
	r.log.Warn("cannot tell the state of a task", "dyno", id, "error", err)
	return StateUnknown, 0
}

// slots are the ids of all dynos with their slots. What waits for a dyno is none, unless an earlier Runtime has made it.
func (r *Runtime) slots(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	runs, err := places(r.config.RunDir)
	if err != nil {
		return nil, err
	}
	disks, err := places(filepath.Join(r.config.Dir, "dynos"))
	if err != nil {
		return nil, err
	}
	containers, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	slots, owners := map[string]int{}, map[string]string{} // owners: dynos by their containers
	for _, id := range runs {
		slots[id], owners[r.container(id)] = -1, id
	}
	for _, name := range disks {
		slots[or(owners[name], name)] = -1
	}
	for _, c := range containers {
		if check(c.ID) != nil {
			continue // not made here, whoever did it
		}
		id := or(owners[c.ID], c.ID)
		slots[id] = -1
		if slot, err := strconv.Atoi(c.Labels[slotLabel]); err == nil {
			slots[id] = slot
		}
		r.shims.recall(c.ID, c.Labels[shimLabel], c.Labels[spaceLabel])
	}
	for _, id := range r.spareIDs() {
		delete(slots, id)
	}
	return slots, nil
}

// places are the names in a directory that are ids.
func places(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list dynos: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if check(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
