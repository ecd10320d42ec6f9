package contender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/bench/figures"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// config has room for many small dynos.
const config = `[host]
max_dynos = 320
memory_reserve = "0B"
[sizes.tiny]
memory = "32MiB"
`

// Dynod is an agent with the programs as they are installed, and a control plane that orders over mutual TLS and is
// told of everything.
type Dynod struct {
	*rig.Rig
	plane   *plane
	orders  *grpc.ClientConn
	rootfs  Rootfs
	slots   int // warm ones
	started atomic.Int64
}

// OpenDynod starts it with so many warm slots and waits until it serves.
func OpenDynod(ctx context.Context, l *lab.Lab, r Rootfs, slots int) (*Dynod, error) {
	bin, err := rig.BuildPlain(ctx)
	if err != nil {
		return nil, err
	}
	stack, err := lab.SmallStack(ctx)
	if err != nil {
		return nil, err
	}
	d := &Dynod{rootfs: r}
	if d.Rig, err = rig.New(ctx, l, bin, map[string]string{"small": stack}, config); err != nil {
		return nil, err
	}
	if err := d.servePlane(ctx); err != nil {
		return nil, err
	}
	if err := d.dial(); err != nil {
		return nil, err
	}
	if err := d.start(ctx, slots); err != nil {
		return nil, err
	}
	return d, d.fetch(ctx)
}

// fetch brings slug, stack and image to the host, as the other contenders have theirs. Before that no slot can be made.
func (d *Dynod) fetch(ctx context.Context) error {
	slug, _ := d.slug("")
	image, _ := d.image("")
	for _, a := range []*dynodv1.Artifact{slug, image} {
		stream, err := d.API().PrefetchArtifact(ctx, &dynodv1.PrefetchArtifactRequest{Artifact: a})
		for err == nil {
			_, err = stream.Recv()
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("fetch artifact: %w", err)
		}
	}
	return nil
}

func (d *Dynod) start(ctx context.Context, slots int) error {
	if err := os.Setenv("DYNOD_HOST_WARM_SLOTS", strconv.Itoa(slots)); err != nil {
		return err
	}
	d.slots = slots
	return d.StartAgent(ctx)
}

// Restart has the agent go, and come again with so many warm slots.
func (d *Dynod) Restart(ctx context.Context, slots int) error {
	if err := d.StopAgent(); err != nil {
		return err
	}
	return d.start(ctx, slots)
}

// Ready waits until the agent takes orders from outside and all its warm slots are made.
func (d *Dynod) Ready(ctx context.Context) error {
	return rig.Await(ctx, fmt.Sprintf("%d warm slots", d.slots), func() (bool, error) {
		d.orders.ResetConnectBackoff()
		out, err := dynodv1.NewAgentServiceClient(d.orders).GetHost(ctx, &dynodv1.GetHostRequest{})
		return err == nil && int(out.GetHost().GetWarmSlots()) >= d.slots, nil
	})
}

func (d *Dynod) servePlane(ctx context.Context) error {
	var l net.Listener
	err := d.Lab.Do(d.Lab.Outside(), func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", rig.PlaneAddress)
		return err
	})
	if err != nil {
		return err
	}
	d.plane, err = servePlane(l, d.PlaneFiles())
	return err
}

// dial connects to the agent from outside, as control planes do.
func (d *Dynod) dial() error {
	tls, err := transport.ClientTLS(d.PlaneFiles(), "agent")
	if err != nil {
		return err
	}
	outside := func(ctx context.Context, address string) (conn net.Conn, err error) {
		err = d.Lab.Do(d.Lab.Outside(), func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
			return err
		})
		return conn, err
	}
	d.orders, err = grpc.NewClient("passthrough:///"+rig.AgentAddress,
		grpc.WithTransportCredentials(credentials.NewTLS(tls)), grpc.WithContextDialer(outside))
	return err
}

// Close ends agent and control plane. The rest goes with the lab.
func (d *Dynod) Close() error {
	_ = d.orders.Close() // a connection of ours to what ends anyway
	d.plane.server.Stop()
	return d.Rig.Close()
}

// Cold starts images, for which no slot is ever made ahead.
func (d *Dynod) Cold() Detached { return dynos{d, figures.Cold, d.image} }

// Warm starts slugs, in warm slots while there are any.
func (d *Dynod) Warm() Detached { return dynos{d, figures.Warm, d.slug} }

func (d *Dynod) slug(line string) (*dynodv1.Artifact, *dynodv1.Command) {
	return Slug(d.rootfs.Slug, d.rootfs.Sum), &dynodv1.Command{Line: line}
}

func (d *Dynod) image(line string) (*dynodv1.Artifact, *dynodv1.Command) {
	image := &dynodv1.ImageArtifact{Reference: d.rootfs.Archive}
	return &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: image}}, &dynodv1.Command{Words: words(line)}
}

// Slug is a slug that lies on the host, on the small stack.
func Slug(file, sum string) *dynodv1.Artifact {
	return &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{Slug: &dynodv1.SlugArtifact{Url: "file://" + file, Sha256: sum, Stack: "small"}}}
}

// Order has a dyno started.
func (d *Dynod) Order(ctx context.Context, a *dynodv1.Artifact, c *dynodv1.Command) (Container, error) {
	id := fmt.Sprintf("be4c4000-0000-4000-8000-%012d", d.started.Add(1))
	o := &dynodv1.StartDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1},
		Spec:   &dynodv1.DynoSpec{App: "bench", Name: "web.1", Size: "tiny", Artifact: a, Command: c},
	}
	ordered := Now()
	_, err := dynodv1.NewAgentServiceClient(d.orders).StartDyno(ctx, o)
	return &started{d: d, id: id, ordered: ordered}, err
}

// dynos is the agent as a contender, with one kind of artifact.
type dynos struct {
	d    *Dynod
	name string
	what func(line string) (*dynodv1.Artifact, *dynodv1.Command)
}

func (c dynos) Name() string { return c.name }

func (c dynos) Start(ctx context.Context, line string) (Container, error) {
	a, command := c.what(line)
	return c.d.Order(ctx, a, command)
}

// Detach returns when the application has said its first line.
func (c dynos) Detach(ctx context.Context, line string) (Container, error) {
	s, err := c.Start(ctx, line)
	if err != nil {
		return nil, err
	}
	_, err = s.Line(ctx)
	return s, err
}

// started is one dyno. Its methods are for one goroutine.
type started struct {
	d       *Dynod
	id      string
	ordered Clock
	read    int // lines
}

func (s *started) Ordered() Clock { return s.ordered }

func (s *started) Line(ctx context.Context) (Line, error) {
	s.read++
	return s.d.plane.line(ctx, s.id, s.read-1)
}

func (s *started) Up(ctx context.Context) (Clock, error) {
	return s.d.plane.phase(ctx, s.id, dynodv1.Phase_PHASE_UP)
}

func (s *started) Stop(ctx context.Context) (time.Duration, error) {
	began := Now()
	order := &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: s.id, Generation: 1}}
	if _, err := dynodv1.NewAgentServiceClient(s.d.orders).StopDyno(ctx, order); err != nil {
		return 0, err
	}
	down, err := s.d.plane.phase(ctx, s.id, dynodv1.Phase_PHASE_DOWN)
	return down.Since(began), err
}
