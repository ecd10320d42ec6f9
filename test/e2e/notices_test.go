package e2e_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/cloud/cloudtest"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
)

// metadataService is where an instance finds its metadata service.
const metadataService = "169.254.169.254"

// serveMetadata puts the service into the lab's outside, on the host's way to everywhere.
func serveMetadata(t *testing.T, l *lab.Lab) *cloudtest.Service {
	t.Helper()
	add := l.Command(l.Outside(), "ip", "addr", "add", metadataService+"/32", "dev", lab.OutsideLink)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lis net.Listener
	if err := l.Do(l.Outside(), func() (err error) {
		lis, err = net.Listen("tcp", net.JoinHostPort(metadataService, "80"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	service := cloudtest.New()
	server := &http.Server{Handler: service} //nolint:gosec // of a test
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(func() { _ = server.Close() })
	return service
}

// The control plane hears which instance the host is and what EC2 announces, and the host acts on it as it is set to.
func TestNoticesOfEC2(t *testing.T) {
	l := lab.New(t)
	service := serveMetadata(t, l)
	service.Break(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }) // which delays no start
	s := openIn(t, l, "[host]\ncloud = \"ec2\"\n[notices]\nmaintenance = \"drain\"\n")
	dyno := s.start(s.order(1, "worker.1", "./web worker"))
	s.await(dyno, up)
	service.Break(nil)
	s.awaitReport("the instance", func(r *dynodv1.ReportRequest) bool {
		return r.GetHost().GetInstance().GetId() == "i-1234567890abcdef0" && !r.GetHost().GetCordoned()
	})
	probe := "nc -w 2 " + metadataService + " 80 </dev/null >/dev/null 2>&1 && echo open || echo closed"
	if got, _ := s.run(2, probe); strings.Join(got, " ") != "closed" {
		t.Errorf("the service is %v to dynos", got)
	}

	service.Set("meta-data/spot/instance-action", `{"action": "terminate", "time": "2030-01-02T03:04:05Z"}`)
	s.awaitReport("the notice and the cordon", func(r *dynodv1.ReportRequest) bool {
		n := r.GetHost().GetNotices()
		return len(n) == 1 && n[0].GetKind() == dynodv1.Notice_KIND_SPOT_INTERRUPTION && n[0].GetAction() == "terminate" &&
			n[0].GetDueAt().AsTime().Year() == 2030 && r.GetHost().GetCordoned()
	})
	_, err := s.API().StartDyno(t.Context(), s.order(3, "worker.2", "./web worker"))
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "spot_interruption: terminate") {
		t.Errorf("start on a host that goes away: %v", err)
	}
	shown, err := s.Ctl(t.Context(), "host")
	s.check(err)
	for _, want := range []string{"no: cordoned", "i-1234567890abcdef0, m7g.large, eu-west-1b", "spot interruption: terminate at 2030-01-02T03:04:05Z"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is missing in:\n%s", want, shown)
		}
	}
	if d := s.get(dyno); d.GetPhase() != up {
		t.Errorf("a cordon has ended the dyno: %v", d)
	}

	service.Set("meta-data/events/maintenance/scheduled", `[{"NotBefore": "1 Feb 2030 00:00:00 GMT", "Code": "system-reboot",
		"Description": "scheduled reboot", "EventId": "instance-event-1", "NotAfter": "1 Feb 2030 01:00:00 GMT", "State": "active"}]`)
	s.await(dyno, down)
	s.output(dyno, "platform", "Relocating dyno to a new server")
	s.awaitReport("the drained host", func(r *dynodv1.ReportRequest) bool {
		h := r.GetHost()
		return len(h.GetNotices()) == 2 && h.GetCordoned() && !h.GetDraining() && h.GetFree().GetDynos() == h.GetCapacity().GetDynos()
	})
	for _, asked := range service.Asked() {
		if strings.Contains(asked, "iam") || strings.Contains(asked, "user-data") {
			t.Errorf("%s was asked for", asked)
		}
	}
}
