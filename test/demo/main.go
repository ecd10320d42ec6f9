// Command demo shows the main job of dynod on this machine in a minute: a control plane orders dynos over mutual TLS, the agent
// runs them, their logs and health stream back, the agent is killed in the middle and nobody notices. Everything runs
// in network namespaces and a directory of the demo's own and is gone afterwards. With -stay it is left standing.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func main() {
	stay := flag.Bool("stay", false, "leave everything standing until Ctrl-C")
	flag.Parse()
	if err := run(*stay); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(stay bool) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := lab.Open("demo")
	if err != nil {
		return err
	}
	defer func() {
		if closed := l.Close(); closed != nil && err == nil {
			err = closed
		}
	}()
	s, err := prepare(ctx, l)
	if err != nil {
		return err
	}
	if stay {
		err = s.stay(ctx)
	} else {
		err = s.tour(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w\n\nthe agent's log ends:\n%s", err, s.rig.Tail("agent.log"))
	}
	return s.rig.Close()
}

// prepare makes what the demo runs and starts containerd, control plane and agent.
func prepare(ctx context.Context, l *lab.Lab) (*show, error) {
	chapter("A stack image, a slug with a real web app, a private containerd, a control plane, an agent")
	stack, err := lab.SmallStack(ctx)
	if err != nil {
		return nil, err
	}
	slug, sum, err := lab.AppSlug(ctx)
	if err != nil {
		return nil, err
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, err
	}
	r, err := rig.New(ctx, l, bin, map[string]string{"small": stack}, "")
	if err != nil {
		return nil, err
	}
	if err := r.StartPlane(); err != nil {
		return nil, err
	}
	if err := r.StartAgent(ctx); err != nil {
		return nil, err
	}
	fmt.Printf("stack  %s\nslug   %s\nagent  pid %d, in its own network namespace\n", stack, slug, r.AgentPID())
	return &show{rig: r, slug: slug, sum: sum}, nil
}

func chapter(title string) { fmt.Printf("\n\033[1m=== %s\033[0m\n", title) }
