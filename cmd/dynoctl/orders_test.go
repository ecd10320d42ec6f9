package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const order = `
header: {dyno_id: ` + webID + `, generation: 4}
spec: {app: shop, name: web.1, environment: {LEVEL: "3"}}
`

func wantOrders(t *testing.T, a *agent, orders ...proto.Message) {
	t.Helper()
	if diff := cmp.Diff(orders, a.orders(), protocmp.Transform()); diff != "" {
		t.Errorf("orders that the agent got (-want +got):\n%s", diff)
	}
}

func TestStart(t *testing.T) {
	a := newAgent(t)
	file := filepath.Join(t.TempDir(), "order.yaml")
	if err := os.WriteFile(file, []byte(order), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, run(t, a, "", "start", "-f", file), 0, webID+" generation 4 starting\n", "")
	want(t, run(t, a, order, "start", "-f", "-", "--set-env", "LEVEL=4", "--set-env", "A=b"), 0, webID+" generation 4 starting\n", "")
	header := &dynodv1.OrderHeader{DynoId: webID, Generation: 4}
	wantOrders(t, a,
		&dynodv1.StartDynoRequest{Header: header, Spec: &dynodv1.DynoSpec{App: "shop", Name: "web.1", Environment: map[string]string{"LEVEL": "3"}}},
		&dynodv1.StartDynoRequest{Header: header, Spec: &dynodv1.DynoSpec{App: "shop", Name: "web.1", Environment: map[string]string{"LEVEL": "4", "A": "b"}}})
}

func TestStartGivesID(t *testing.T) {
	a := newAgent(t)
	got := run(t, a, "spec: {app: shop, name: web.1}", "start", "-f", "-")
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12} generation 1 starting\n$`).MatchString(got.out) {
		t.Errorf("got %+v", got)
	}
}

func TestStartUsage(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "", "start"), 2, "", "dynoctl: an order is required: -f FILE\n")
	want(t, run(t, a, "", "start", "-f", "/nowhere"), 1, "", "dynoctl: read order: open /nowhere: no such file or directory\n")
	want(t, run(t, a, "spec: {app: a, colour: red}", "start", "-f", "-"), 2, "", "dynoctl: parse order: unknown field \"colour\"\n")
	want(t, run(t, a, order, "start", "-f", "-", "--set-env", "x"), 2, "", "dynoctl: set environment: \"x\" is not KEY=VALUE\n")
	wantOrders(t, a)
}

func changed(phase dynodv1.Phase, code int32) *dynodv1.WatchDynosResponse {
	d := &dynodv1.Dyno{Id: webID, App: "shop", Name: "web.1", Phase: phase, Reason: "as told"}
	if phase != dynodv1.Phase_PHASE_STARTING && phase != dynodv1.Phase_PHASE_UP {
		d.Exit = &dynodv1.Exit{Code: code}
	}
	return &dynodv1.WatchDynosResponse{Event: &dynodv1.WatchDynosResponse_Changed{Changed: d}}
}

func TestStartWait(t *testing.T) {
	const oneOff = "header: {dyno_id: " + webID + "}\nspec: {app: shop, name: web.1, one_off: true}"
	starting, up := changed(dynodv1.Phase_PHASE_STARTING, 0), changed(dynodv1.Phase_PHASE_UP, 0)
	forgotten := &dynodv1.WatchDynosResponse{Event: &dynodv1.WatchDynosResponse_Forgotten{Forgotten: webID}}
	other := &dynodv1.WatchDynosResponse{Event: &dynodv1.WatchDynosResponse_Forgotten{Forgotten: otherID}}
	for name, c := range map[string]struct {
		order       string
		news        []*dynodv1.WatchDynosResponse
		code        int
		out, errOut string
	}{
		"up":       {order, []*dynodv1.WatchDynosResponse{other, starting, up}, 0, " generation 4 up\n", ""},
		"crashed":  {order, []*dynodv1.WatchDynosResponse{changed(dynodv1.Phase_PHASE_CRASHED, 1)}, 1, " generation 4 crashed\n", "dynoctl: shop/web.1 is crashed: as told: exit 1\n"},
		"stopped":  {order, []*dynodv1.WatchDynosResponse{changed(dynodv1.Phase_PHASE_DOWN, 143)}, 1, " generation 4 down\n", "dynoctl: shop/web.1 is down: as told: exit 143\n"},
		"complete": {oneOff, []*dynodv1.WatchDynosResponse{up, changed(dynodv1.Phase_PHASE_COMPLETE, 0)}, 0, " generation 1 complete\n", ""},
		"complete with 3": {
			oneOff,
			[]*dynodv1.WatchDynosResponse{up, changed(dynodv1.Phase_PHASE_COMPLETE, 3)},
			1, " generation 1 complete\n", "dynoctl: shop/web.1 is complete: as told: exit 3\n",
		},
		"forgotten":  {order, []*dynodv1.WatchDynosResponse{forgotten}, 1, " generation 4 starting\n", "dynoctl: dyno " + webID + ": the agent has forgotten it\n"},
		"agent ends": {order, []*dynodv1.WatchDynosResponse{starting}, 3, "", "agent is shutting down\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			a.change(func(w *world) {
				w.dynos = []*dynodv1.Dyno{{Id: webID, Phase: dynodv1.Phase_PHASE_STARTING}}
				w.news = c.news
			})
			if c.out != "" {
				c.out = webID + c.out
			}
			if c.code == 3 {
				c.errOut = "dynoctl: the agent at unix://" + a.socket + " is not available: " + c.errOut
			}
			want(t, run(t, a, c.order, "start", "-f", "-", "--wait"), c.code, c.out, c.errOut)
		})
	}
}

func TestStop(t *testing.T) {
	a := newAgent(t)
	got := run(t, a, "", "stop", "web.1", "web.9", "blog/worker.1", "--grace", "5s", "--reason", "Cycling")
	want(t, got, 4, webID+" shop/web.1 stopping\n"+otherID+" blog/worker.1 stopping (stuck)\n",
		"dynoctl: no dyno has the name \"web.9\" or an id that begins so\n")
	grace := durationpb.New(5 * time.Second)
	wantOrders(t, a,
		&dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: webID, Generation: 3}, Grace: grace, Reason: "Cycling"},
		&dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: otherID, Generation: 1}, Grace: grace, Reason: "Cycling"})
}

func TestStopFirstFailureDecides(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.refuse = status.Error(codes.FailedPrecondition, "newer order obeyed") })
	want(t, run(t, a, "", "stop", "web.1", "web.9"), 5, "",
		"dynoctl: newer order obeyed\ndynoctl: no dyno has the name \"web.9\" or an id that begins so\n")
}

func TestStartWaitGoneAtOnce(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.dynos = nil })
	got := run(t, a, order, "start", "-f", "-", "--wait")
	want(t, got, 1, webID+" generation 4 starting\n", "dynoctl: dyno "+webID+": the agent has forgotten it\n")
}

func TestStopWait(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) {
		w.news = []*dynodv1.WatchDynosResponse{changed(dynodv1.Phase_PHASE_STOPPING, 0), changed(dynodv1.Phase_PHASE_DOWN, 143)}
	})
	want(t, run(t, a, "", "stop", "web.1", "--wait"), 0, webID+" shop/web.1 down\n", "")
	wantOrders(t, a, &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: webID, Generation: 3}})
}

func TestRefusals(t *testing.T) {
	bad, err := status.New(codes.InvalidArgument, "the order is not valid").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "spec.app", Description: "must be 1 to 63 characters of [a-z0-9-]"},
			{Field: "spec.port", Description: "must be 1024 to 65535"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t)
	for _, c := range []struct {
		refuse error
		code   int
		errOut string
	}{
		{bad.Err(), 2, "dynoctl: the order is not valid\n" +
			"  spec.app: must be 1 to 63 characters of [a-z0-9-]\n  spec.port: must be 1024 to 65535\n"},
		{status.Error(codes.Unavailable, "containerd is away"), 3, "dynoctl: the agent at unix://" + a.socket + " is not available: containerd is away\n"},
		{status.Error(codes.AlreadyExists, "dyno lives with another spec"), 5, "dynoctl: dyno lives with another spec\n"},
		{status.Error(codes.FailedPrecondition, "generation 4 is older than 5"), 5, "dynoctl: generation 4 is older than 5\n"},
		{status.Error(codes.ResourceExhausted, "no room"), 5, "dynoctl: no room\n"},
		{status.Error(codes.PermissionDenied, "you may not"), 5, "dynoctl: you may not\n"},
		{status.Error(codes.DeadlineExceeded, "too late"), 5, "dynoctl: too late\n"},
		{status.Error(codes.Internal, "bad\x1b[2J\nnews"), 1, `dynoctl: bad\x1b[2J\nnews` + "\n"},
		{status.Error(codes.Internal, ""), 1, "dynoctl: internal\n"},
	} {
		a.change(func(w *world) { w.refuse = c.refuse })
		want(t, run(t, a, order, "start", "-f", "-"), c.code, "", c.errOut)
	}
}

func TestNoAgent(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.silent = true })
	want(t, run(t, a, "", "host", "--timeout", "100ms"), 3, "", "dynoctl: the agent did not answer within 100ms\n")
	want(t, run(t, a, "", "ps", "--socket", "/nowhere/s"), 3, "", "dynoctl: the agent at unix:///nowhere/s is not available: "+
		"dial unix /nowhere/s: connect: no such file or directory (is dynod running?)\n")
}

func TestUsage(t *testing.T) {
	a := newAgent(t)
	const see = "\"dynoctl --help\" says what there is.\n"
	for _, c := range []struct {
		args   []string
		errOut string
	}{
		{[]string{"bogus"}, "dynoctl: unknown command \"bogus\" for \"dynoctl\" Did you mean this? logs\n" + see},
		{[]string{"ps", "--bogus"}, "dynoctl: unknown flag: --bogus\n" + see},
		{[]string{"ps", "x"}, "dynoctl: unknown command \"x\" for \"dynoctl ps\"\n" + see},
		{[]string{"stop"}, "dynoctl: requires at least 1 arg(s), only received 0\n" + see},
		{[]string{"ps", "-o", "xml"}, "dynoctl: --output \"xml\": must be table or json\n" + see},
		{[]string{"ps", "--socket", "s", "--address", "h:1"}, "dynoctl: --address and --socket: only one of them\n" + see},
		{[]string{"ps", "--address", "h:1"}, "dynoctl: --address needs --cert, --key and --ca\n"},
		{[]string{"ps", "--cert", "c"}, "dynoctl: --cert, --key, --ca and --server-name are for --address\n"},
	} {
		want(t, run(t, a, "", c.args...), 2, "", c.errOut)
	}
}

func TestDrain(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "", "drain", "--grace", "2s"), 0, "0 stopped, 4 left\n1 stopped, 3 left\n2 stopped, 2 left\n3 stopped, 1 left\n", "")
	a.change(func(w *world) {
		w.dynos = nil
		w.refuse = status.Error(codes.FailedPrecondition, "drained already")
	})
	want(t, run(t, a, "", "drain"), 5, "", "dynoctl: drained already\n")
	wantOrders(t, a, &dynodv1.DrainHostRequest{Grace: durationpb.New(2 * time.Second)}, &dynodv1.DrainHostRequest{})
}
