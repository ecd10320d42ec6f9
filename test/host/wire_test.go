package host_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynod/dynod/test/host"
	"github.com/dynod/dynod/test/rig"
)

const wired = `[api]
listen = "192.168.7.1:7070"
cert = "/etc/dynod/tls/agent.pem"
key = "/etc/dynod/tls/agent-key.pem"
ca = "/etc/dynod/tls/ca.pem"
allowed_clients = ["plane"]
[upstream]
address = "192.168.7.2:7071"
`

const dynoID = "d4a70000-0000-4000-8000-000000000001"

// Two hosts on one wire: the control plane on one orders a dyno on the other, over mutual TLS, and gets its output.
func TestTwoHosts(t *testing.T) {
	each(t, func(t *testing.T, image host.Image) {
		one, two := host.Cable(t.TempDir())
		s := open(t, image, one)
		plane := &stage{t: t, host: newHost(t, image, "two", two)}
		for n, s := range []*stage{s, plane} {
			s.run("ip addr add 192.168.7.%d/24 dev %s && ip link set %s up", n+1, host.WireInterface, host.WireInterface)
		}
		certs := certificates(t, "192.168.7.1", "192.168.7.2")
		for _, name := range []string{"ca.pem", "agent.pem", "agent-key.pem"} {
			s.put("/etc/dynod/tls/"+name, filepath.Join(certs, name))
		}
		s.write("/etc/dynod/conf.d/60-wire.toml", []byte(wired))
		s.install(older)
		plane.controls(t, certs)
		order := fmt.Sprintf(`{"header": {"dynoId": %q, "generation": 1}, "spec": {"app": "wired", "name": "worker.1", "command": {"line": "./web worker"},
			"artifact": {"slug": {"url": "file:///srv/web.tgz", "sha256": %q, "stack": "small"}}}}`, dynoID, s.slugs["web"])
		plane.write("/root/order.json", []byte(order))
		plane.run("%s start --file /root/order.json", ask)
		plane.until("0", "%s get %s | grep -q PHASE_UP; echo $?", ask, dynoID)
		plane.until("0", "grep -q '^stdout .*seq=3' /root/plane/logs/%s.log; echo $?", dynoID)
		plane.run("%s stop %s", ask, dynoID)
		plane.until("0", "cd /root/plane/logs && grep -q 'end seq=' %[1]s.log && grep -q 'to down' %[1]s.log; echo $?", dynoID)

		// Nobody without a certificate of the plane's name gets an answer.
		refused := strings.ReplaceAll(ask, "plane.pem", "agent.pem")
		refused = strings.ReplaceAll(refused, "plane-key.pem", "agent-key.pem")
		if r, err := plane.host.Try(bounded(t, patience), refused+" list"); err != nil || r.Code == 0 {
			t.Errorf("an agent's certificate: %+v, %v; want it refused", r, err)
		}
	})
}

// ask is dynoplane as the client of the agent on the other host.
const ask = "/root/dynoplane order --agent 192.168.7.1:7070 --timeout 2m --cert /root/tls/plane.pem --key /root/tls/plane-key.pem --ca /root/tls/ca.pem"

// controls starts the reference control plane on the host.
func (s *stage) controls(t *testing.T, certs string) {
	t.Helper()
	bin, err := rig.BuildPlain(t.Context())
	check(t, err)
	s.put("/root/dynoplane", filepath.Join(bin, "dynoplane"))
	for _, name := range []string{"ca.pem", "plane.pem", "plane-key.pem", "agent.pem", "agent-key.pem"} {
		s.put("/root/tls/"+name, filepath.Join(certs, name))
	}
	s.run("chmod +x /root/dynoplane && systemd-run -q --unit=plane /root/dynoplane serve --listen 192.168.7.2:7071 --data /root/plane " +
		"--cert /root/tls/plane.pem --key /root/tls/plane-key.pem --ca /root/tls/ca.pem --allow agent")
	s.until("active", "systemctl is-active plane")
}
