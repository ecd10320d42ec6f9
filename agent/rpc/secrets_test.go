package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// recorder keeps the text of everything that a client receives.
type recorder struct {
	grpc.ClientConnInterface
	heard *lines
}

func (r recorder) Invoke(ctx context.Context, method string, in, out any, options ...grpc.CallOption) error {
	err := r.ClientConnInterface.Invoke(ctx, method, in, out, options...)
	_, _ = fmt.Fprintln(r.heard, method, prototext.Format(out.(proto.Message)), err, status.Convert(err).Details())
	return err
}

func TestSecretsStayInside(t *testing.T) {
	h := newHost(t)
	heard := &lines{}
	client := dynodv1.NewAgentServiceClient(recorder{h.conn, heard})
	ctx := limited(t)
	secret := fullSlug(first)
	secret.Spec.Environment = map[string]string{"KEY": "hidden-value"}
	secret.Spec.Artifact.GetSlug().Url = "https://hidden-url.example/?signature=hidden"
	secret.Spec.LogSinks = []*dynodv1.LogSink{{Url: "https://hidden:hidden@hidden-sink.example/hidden", Token: "hidden-token"}}
	image := fullImage(second)
	image.Spec.Artifact.GetImage().Username, image.Spec.Artifact.GetImage().Password = "hidden-user", "hidden-password"
	image.Spec.Environment = secret.Spec.Environment
	start := func(base *dynodv1.StartDynoRequest, change func(*dynodv1.StartDynoRequest)) {
		o := proto.CloneOf(base)
		change(o)
		_, _ = client.StartDyno(ctx, o)
	}
	for _, base := range []*dynodv1.StartDynoRequest{secret, image} {
		for _, change := range []func(*dynodv1.StartDynoRequest){
			func(*dynodv1.StartDynoRequest) {}, // accepted
			func(*dynodv1.StartDynoRequest) {}, // the same again
			func(o *dynodv1.StartDynoRequest) { o.Spec.Port++ },
			func(o *dynodv1.StartDynoRequest) { o.Header.Generation-- },
			func(o *dynodv1.StartDynoRequest) { o.Spec.App = "No" },
			func(o *dynodv1.StartDynoRequest) { o.Spec.Environment["KEY"] = strings.Repeat("hidden", 64<<10) },
			func(o *dynodv1.StartDynoRequest) { o.Spec.Environment["KEY"] = "hidden\x00" },
			func(o *dynodv1.StartDynoRequest) {
				o.Spec.LogSinks = []*dynodv1.LogSink{{Url: "hidden", Token: "hidden"}}
			},
			func(o *dynodv1.StartDynoRequest) {
				o.Spec.LogSinks = []*dynodv1.LogSink{{Url: "https://hidden-host:99999/%zz", Token: "hidden\x00"}}
			},
			func(o *dynodv1.StartDynoRequest) { o.Spec.Attach = &dynodv1.AttachRequest{RendezvousUrl: "hidden"} },
		} {
			start(base, change)
		}
	}
	_, _ = client.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: first})
	_, _ = client.ListDynos(ctx, &dynodv1.ListDynosRequest{})
	_, _ = client.GetHost(ctx, &dynodv1.GetHostRequest{})
	stream, err := h.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintln(heard, prototext.Format(snapshot))
	h.stop(first, 3)
	told, err := logLines(ctx, h, &dynodv1.StreamLogsRequest{DynoId: first})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range told {
		_, _ = fmt.Fprintln(heard, string(l.GetText()))
	}
	for where, text := range map[string]string{"the answers": heard.String(), "the log": h.log.String()} {
		if strings.Contains(text, "hidden") {
			t.Errorf("a secret is in %s:\n%s", where, text)
		}
		if !strings.Contains(text, first) || !strings.Contains(text, second) {
			t.Errorf("%s are not what this test is about:\n%s", where, text)
		}
	}
	if kept, err := h.agent.Get(second); err != nil || kept.Spec.Secret.Password != "hidden-password" {
		t.Error("the secrets did not arrive, so nothing was tested")
	}
}
