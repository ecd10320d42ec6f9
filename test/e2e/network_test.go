package e2e_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func space(name string) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.Metadata = &dynodv1.Metadata{Space: name} }
}

func policy(name string) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.NetworkPolicy = name }
}

// Space and policy of an order decide what its dyno reaches.
func TestSpaceAndPolicyOfAnOrder(t *testing.T) {
	s := open(t, "[network.policies.shut]\ndeny = [\"0.0.0.0/0\"]\n")
	web := s.await(s.start(s.order(1, "web.1", "./web web", space("blue"))), up)
	outside := s.listenOutside()
	for n, c := range []struct {
		what, address, port string
		order               func(*dynodv1.StartDynoRequest)
		want                string
	}{
		{"same space", web.GetAddress(), "5000", space("blue"), "open"},
		{"other space", web.GetAddress(), "5000", space("red"), "closed"},
		{"default policy", lab.OutsideAddress, outside, policy(""), "open"},
		{"shut policy", lab.OutsideAddress, outside, policy("shut"), "closed"},
	} {
		probe := "nc -w 2 " + c.address + " " + c.port + " </dev/null >/dev/null 2>&1 && echo open || echo closed"
		if got, _ := s.run(2+n, probe, c.order); strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, c.want)
		}
	}
}

// Somebody flushes all rules of the host, then deletes a dyno's link: the agent mends both.
func TestAgentMendsTheNetwork(t *testing.T) {
	s := open(t, "")
	web := s.await(s.start(s.order(1, "web.1", "./web web")), up)
	port := net.JoinHostPort(lab.HostAddress, strconv.Itoa(int(web.GetHostPort())))
	answers := func() bool {
		return s.Lab.Do(s.Lab.Outside(), func() error {
			conn, err := net.DialTimeout("tcp", port, 100*time.Millisecond)
			if err == nil {
				_ = conn.Close()
			}
			return err
		}) == nil
	}
	if !answers() {
		t.Fatal("the dyno does not answer")
	}
	for _, damage := range []string{"nft flush ruleset", "ip link del dy0"} {
		s.check(s.Lab.Command(s.Lab.Host(), strings.Fields(damage)...).Run())
		s.check(rig.Await(t.Context(), "the network to be mended", func() (bool, error) { return answers(), nil }))
	}
}
