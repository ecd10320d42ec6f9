package network_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

func TestHundredRandomCyclesLeaveNothing(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ids := map[int]string{}
	for range 200 {
		slot := random.IntN(8)
		if id, taken := ids[slot]; taken {
			h.teardown(id)
			delete(ids, slot)
		} else {
			ids[slot], _ = h.setup(slot)
		}
		if random.IntN(50) == 0 {
			h.restart()
		}
		h.finds(asFound(ids)...)
	}
	for _, id := range ids {
		h.teardown(id)
	}
	h.finds()
	h.nothingBeyond(before)
}

// churnDir names the variable that makes the test binary an agent that does
// nothing but churn; its value is the directory of namespaces.
const churnDir = "DYNOD_TEST_CHURN_DIR"

const (
	churnCycles  = 1000
	churnKills   = 20
	churnWorkers = 16
)

// TestThousandCyclesUnderKillsLeaveNothing kills the process that sets networks up
// and tears them down, and starts another one on what it left. In the second half
// the host has a tracked connection, without which nobody looks for those of dynos.
func TestThousandCyclesUnderKillsLeaveNothing(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	done := 0
	for kill := range churnKills {
		if kill == churnKills/2 {
			h.serve(h.Outside(), outside(80))
			h.connected(h.Lab.Host(), outside(80))
		}
		done += h.churned(1 + random.IntN(2*churnCycles/churnKills))
	}
	done += h.churned(max(1, churnCycles-done))
	t.Logf("%d cycles", done)
	h.restart()
	found, err := h.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		h.teardown(f.ID)
	}
	h.finds()
	h.nothingBeyond(before)
}

// churned kills a process that churns after so many cycles.
func (h *host) churned(cycles int) (done int) {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := h.Command(h.Lab.Host(), self)
	cmd.Env = append(cmd.Env, churnDir+"="+h.config().Dir)
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for done < cycles && lines.Scan() {
		done++
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if done < cycles {
		h.t.Fatalf("ended by itself after %d cycles: %s", done, &trouble)
	}
	return done
}

// churn is the process: it takes over what it finds, then sets up and tears down
// for ever, with a line of output for each cycle.
func churn(dir string) int {
	ctx := context.Background()
	cfg := network.Config{FirstHostPort: 5000, Slots: 100, Dir: dir}
	cfg.Spare.Port = 3000
	n, err := network.New(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	found, err := n.List(ctx)
	for i, f := range found {
		if i%2 == 0 && f.Slot >= 0 {
			_, setupErr := n.Setup(ctx, network.Request{ID: f.ID, Slot: f.Slot, Port: 3000})
			if !errdefs.IsFailedPrecondition(setupErr) { // it had the other port
				err = errors.Join(err, setupErr)
			}
		}
		err = errors.Join(err, n.Teardown(ctx, f.ID))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	failed := make(chan error)
	go func() { failed <- n.Run(ctx) }()
	for worker := range churnWorkers {
		go func() { failed <- cycle(ctx, n, worker) }()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	return 1
}

// cycle churns in slots that no other worker uses.
func cycle(ctx context.Context, n *network.Network, worker int) error {
	for {
		slot := worker + churnWorkers*rand.IntN(4)
		if rand.IntN(2) == 0 {
			if _, err := n.Prepare(ctx, slot); err != nil {
				return err
			}
		}
		r := network.Request{ID: uuid.NewString(), Slot: slot, Port: uint16(3000 + rand.IntN(2)), Space: []string{"", "x"}[rand.IntN(2)]}
		if _, err := n.Setup(ctx, r); err != nil {
			return err
		}
		if err := n.Teardown(ctx, r.ID); err != nil {
			return err
		}
		fmt.Println("cycle")
	}
}

func TestManyAtOnce(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() { h.contend(t, i) })
	}
	all.Wait()
	h.finds()
	h.nothingBeyond(before)
}

// contend sets up and tears down a dyno again and again in one of four slots
// that it shares with others.
func (h *host) contend(t *testing.T, i int) {
	id := uuid.NewString()
	for range 10 {
		_, err := h.Setup(t.Context(), network.Request{ID: id, Slot: i % 4, Port: 3000})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			t.Errorf("set up: %v", err)
		}
		if err := h.Teardown(t.Context(), id); err != nil {
			t.Errorf("tear down: %v", err)
		}
	}
}

func asFound(ids map[int]string) []network.Found {
	var found []network.Found
	for slot, id := range ids {
		found = append(found, network.Found{ID: id, Slot: slot})
	}
	return found
}
