package rig

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
)

// binaries are built once for all platforms of a process.
var binaries = sync.OnceValues(func() (string, error) { return Build(context.Background()) })

// Start puts a platform into the lab and waits until its agent serves. It has the stack "small"; extra is appended to
// the agent's configuration, where the section [artifacts.stacks] is open.
func Start(ctx context.Context, l *lab.Lab, extra string) (*Rig, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	stack, err := lab.SmallStack(ctx)
	if err != nil {
		return nil, err
	}
	r, err := New(ctx, l, bin, map[string]string{"small": stack}, extra)
	if err != nil {
		return nil, err
	}
	if err := r.StartPlane(); err != nil {
		return nil, err
	}
	return r, r.StartAgent(ctx)
}

// Races is what the race detectors of agent and control plane have said; empty: nothing.
func (r *Rig) Races() string {
	var said strings.Builder
	for _, name := range []string{"agent.log", "plane.log"} {
		data, err := os.ReadFile(r.path(name))
		if err == nil && strings.Contains(string(data), "DATA RACE") {
			fmt.Fprintf(&said, "%s tells of a data race:\n%s", name, data)
		}
	}
	return said.String()
}

// Change is one difference from a plain order.
type Change func(*dynodv1.StartDynoRequest)

// SlugOrder is a start order for a slug that lies on the host, on the stack "small".
func SlugOrder(id, app, name, command, file, sum string, change ...Change) *dynodv1.StartDynoRequest {
	slug := &dynodv1.SlugArtifact{Url: "file://" + file, Sha256: sum, Stack: "small"}
	o := &dynodv1.StartDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1},
		Spec: &dynodv1.DynoSpec{
			App: app, Name: name, Command: &dynodv1.Command{Line: command},
			Artifact: &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{Slug: slug}},
		},
	}
	for _, c := range change {
		c(o)
	}
	return o
}

// Env sets a config var.
func Env(name, value string) Change {
	return func(o *dynodv1.StartDynoRequest) {
		if o.Spec.Environment == nil {
			o.Spec.Environment = map[string]string{}
		}
		o.Spec.Environment[name] = value
	}
}

// OneOff makes it a dyno that is meant to end.
func OneOff(o *dynodv1.StartDynoRequest) { o.Spec.OneOff = true }

// AwaitPhase waits until the dyno is in one of the phases and returns it as it is then.
func (r *Rig) AwaitPhase(ctx context.Context, id string, phases ...dynodv1.Phase) (*dynodv1.Dyno, error) {
	var d *dynodv1.Dyno
	err := Await(ctx, fmt.Sprintf("dyno %s to be %v", id, phases), func() (bool, error) {
		out, err := r.API().GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: id})
		d = out.GetDyno()
		return slices.Contains(phases, d.GetPhase()), err
	})
	if err != nil {
		return d, fmt.Errorf("%w; it is %v", err, d)
	}
	return d, nil
}

// Texts are the texts of one stream's lines.
func Texts(lines []Line, stream string) []string {
	var texts []string
	for _, l := range lines {
		if l.Stream == stream {
			texts = append(texts, l.Text)
		}
	}
	return texts
}
