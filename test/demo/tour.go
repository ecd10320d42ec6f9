package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// The dynos of the demo.
const (
	web    = "0de30000-0000-4000-8000-000000000001"
	worker = "0de30000-0000-4000-8000-000000000002"
	oneOff = "0de30000-0000-4000-8000-000000000003"
	crashy = "0de30000-0000-4000-8000-000000000004"
)

// show is a demo under way.
type show struct {
	rig       *rig.Rig
	slug, sum string
}

// tour goes through the main job once.
func (s *show) tour(ctx context.Context) error {
	for _, act := range []func(context.Context) error{s.order, s.visit, s.upstream, s.kill, s.crash, s.stop} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	chapter("Done: everything is cleaned up")
	return nil
}

func (s *show) order(ctx context.Context) error {
	chapter("The control plane orders web.1, worker.1 and a one-off over mutual TLS")
	for _, o := range []struct {
		id, name, command string
		oneOff            bool
	}{{web, "web.1", "./web web", false}, {worker, "worker.1", "./web worker", false}, {oneOff, "run.1", "./web burst 5", true}} {
		if err := s.send(ctx, o.id, o.name, o.command, o.oneOff); err != nil {
			return err
		}
	}
	for id, phase := range map[string]dynodv1.Phase{web: dynodv1.Phase_PHASE_UP, worker: dynodv1.Phase_PHASE_UP, oneOff: dynodv1.Phase_PHASE_COMPLETE} {
		if _, err := s.await(ctx, id, phase); err != nil {
			return err
		}
	}
	return s.ctl(ctx, "ps")
}

func (s *show) send(ctx context.Context, id, name, command string, oneOff bool) error {
	order, err := protojson.Marshal(&dynodv1.StartDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1},
		Spec: &dynodv1.DynoSpec{
			App: "demo", Name: name, OneOff: oneOff, Command: &dynodv1.Command{Line: command},
			Artifact: &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{
				Slug: &dynodv1.SlugArtifact{Url: "file://" + s.slug, Sha256: s.sum, Stack: "small"},
			}},
			Environment: map[string]string{"LINES": "1000"},
		},
	})
	if err != nil {
		return err
	}
	path, err := s.rig.OrderFile(name, order)
	if err != nil {
		return err
	}
	_, err = s.rig.Order(ctx, "start", "-f", path)
	return err
}

func (s *show) await(ctx context.Context, id string, phase dynodv1.Phase) (*dynodv1.Dyno, error) {
	var d *dynodv1.Dyno
	err := rig.Await(ctx, fmt.Sprintf("dyno %s to be %s", id, phase), func() (bool, error) {
		out, err := s.rig.API().GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: id})
		d = out.GetDyno()
		return d.GetPhase() == phase, err
	})
	return d, err
}

// ctl runs dynoctl and shows command and output.
func (s *show) ctl(ctx context.Context, args ...string) error {
	out, err := s.rig.Ctl(ctx, args...)
	fmt.Printf("$ dynoctl %s\n%s", strings.Join(args, " "), out)
	return err
}

func (s *show) visit(ctx context.Context) error {
	chapter("From outside the host, web.1 answers HTTP on its host port")
	d, err := s.await(ctx, web, dynodv1.Phase_PHASE_UP)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://%s:%d/hello", lab.HostAddress, d.GetHostPort())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := s.rig.Lab.Client(s.rig.Lab.Outside()).Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s %w", url, answer.Status, err)
	}
	fmt.Printf("GET %s\n%s\n%s\n", url, answer.Status, strings.TrimSpace(string(body)))
	return nil
}

func (s *show) upstream(ctx context.Context) error {
	chapter("Logs of the one-off and of web.1, as the control plane has received them")
	for _, id := range []string{oneOff, web} {
		last := "State changed from starting to up"
		if id == oneOff {
			last = "to complete"
		}
		lines, err := s.rig.AwaitLine(ctx, id, last)
		if err != nil {
			return err
		}
		for _, l := range lines[:min(9, len(lines))] {
			fmt.Printf("%s %-8s %s\n", l.Time.Format(time.RFC3339Nano), l.Stream, l.Text)
		}
	}
	chapter("The host's health")
	return s.ctl(ctx, "host")
}

func (s *show) kill(ctx context.Context) error {
	chapter("The agent is killed with SIGKILL while 1,000 lines a second flow, three times")
	before, err := s.pids(ctx)
	if err != nil {
		return err
	}
	for range 3 {
		if err := s.rig.KillAgent(); err != nil {
			return err
		}
		if err := s.rig.StartAgent(ctx); err != nil {
			return err
		}
		fmt.Printf("killed, and back with pid %d\n", s.rig.AgentPID())
		lines, err := s.rig.Received(worker)
		if err != nil || len(lines) == 0 {
			return errors.Join(err, errors.New("no lines of worker.1"))
		}
		if _, err := s.rig.AwaitLine(ctx, worker, after(lines)); err != nil {
			return err
		}
	}
	now, err := s.pids(ctx)
	if err != nil {
		return err
	}
	if before != now {
		return fmt.Errorf("processes before %s, now %s", before, now)
	}
	fmt.Printf("the dynos kept their processes: %s\n", now)
	return nil
}

// after is a line that the worker says 300 lines later than the last one that arrived.
func after(lines []rig.Line) string {
	var n int
	for _, l := range lines {
		_, _ = fmt.Sscanf(l.Text, "seq=%d", &n) // other lines do not match
	}
	return fmt.Sprintf("seq=%d", n+300)
}

func (s *show) pids(ctx context.Context) (string, error) {
	var text string
	for _, id := range []string{web, worker} {
		d, err := s.await(ctx, id, dynodv1.Phase_PHASE_UP)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", d.GetPid())); err != nil {
			return "", err
		}
		text += fmt.Sprintf("%s=%d ", d.GetName(), d.GetPid())
	}
	return text, nil
}

func (s *show) crash(ctx context.Context) error {
	chapter("A dyno crashes")
	if err := s.send(ctx, crashy, "worker.2", "./web crash 100ms 3", false); err != nil {
		return err
	}
	if _, err := s.await(ctx, crashy, dynodv1.Phase_PHASE_CRASHED); err != nil {
		return err
	}
	return s.ctl(ctx, "logs", crashy)
}

func (s *show) stop(ctx context.Context) error {
	chapter("The control plane stops web.1 and worker.1")
	for _, id := range []string{web, worker} {
		if _, err := s.rig.Order(ctx, "stop", id); err != nil {
			return err
		}
		if _, err := s.await(ctx, id, dynodv1.Phase_PHASE_DOWN); err != nil {
			return err
		}
	}
	if err := s.ctl(ctx, "ps"); err != nil {
		return err
	}
	chapter("Every line of worker.1 has arrived once, in order, over three kills of the agent")
	lines, err := s.rig.AwaitLine(ctx, worker, "end seq=")
	if err != nil {
		return err
	}
	n, err := rig.Sequence(lines)
	if err != nil {
		return err
	}
	fmt.Printf("%d lines written, %d received, none missing, none doubled\n", n, n)
	return nil
}
