package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/host"
)

// TestMachineImage runs the script of machine images on a fresh host, without a mirror, as all that the package depends on is there.
// What it leaves is booted like a new instance: it runs dynos, with the script's settings and nothing that tells of the build.
func TestMachineImage(t *testing.T) {
	each(t, func(t *testing.T, image host.Image) {
		s := open(t, image, nil)
		all, err := packages()
		check(t, err)
		s.put("/root/ami/packages/"+filepath.Base(all[older]), all[older])
		s.put("/root/provision.sh", "../../packaging/ami/provision.sh")
		files, err := os.ReadDir("../../packaging/ami/files")
		check(t, err)
		for _, file := range files {
			s.put("/root/ami/files/"+file.Name(), "../../packaging/ami/files/"+file.Name())
		}
		// The stack comes by the script; the test gets in by keys that the script removes.
		s.run("mkdir /root/ami/stacks && mv /srv/small.tar /root/ami/stacks && sed -i '/stacks/,$d' /etc/dynod/conf.d/50-test.toml")
		s.run("tar -cf /srv/keys.tar -C / root/.ssh etc/ssh")
		s.run("rm -f /etc/apt/sources.list.d/* && : >/etc/apt/sources.list && bash /root/provision.sh /root/ami")
		s.forgotten()
		s.run("tar -xf /srv/keys.tar -C /")
		check(t, s.host.Reboot(bounded(t, boot)))
		s.until("active", "systemctl is-active dynod")
		s.set()
		s.await(s.start(s.order("web", "./web worker")), dynodv1.Phase_PHASE_UP)
	})
}

// forgotten checks that two instances of the image would not be alike.
func (s *stage) forgotten() {
	s.t.Helper()
	for _, gone := range []string{"/root/ami", "/root/.ssh/authorized_keys", "/etc/ssh/ssh_host_*", "/var/lib/dynod", "/var/lib/systemd/random-seed"} {
		s.until("", "ls -d %s 2>/dev/null", gone)
	}
	if size := s.count("stat -c %%s /etc/machine-id"); size != 0 {
		s.t.Errorf("the machine id of the build has %d bytes", size)
	}
}

// set checks that the kernel and containerd run with the script's settings.
func (s *stage) set() {
	s.t.Helper()
	settings, err := os.ReadFile("../../packaging/ami/files/sysctl.conf")
	check(s.t, err)
	for line := range strings.Lines(string(settings)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " = ")
		if !found {
			continue
		}
		if got := s.run("sysctl -n %s", name); got != value {
			s.t.Errorf("%s: got %s, want %s", name, got, value)
		}
	}
	if got := s.run("ctr plugins ls | grep -E 'cri' | grep -c ok || true"); got != "0" {
		s.t.Errorf("%s plugins of Kubernetes run", got)
	}
}
