// Package host_test is the acceptance of dynod on real hosts, as its package installs it there: what only systemd, cgroup
// v2, a reboot and a power cut can tell.
package host_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dynod/dynod/test/host"
	"github.com/dynod/dynod/test/root"
)

var (
	release = flag.String("release", "", "release of Debian to test on; all: one after another")
	part    = flag.Bool("part", false, "only what fits into every run")
)

// patience bounds every wait. What takes a second on the machine may take ten in a host, and the machine is busy.
const patience = 10 * time.Minute

// boot is how long a host may take until somebody can log in.
const boot = 15 * time.Minute

// each runs a test on every release that is asked for.
func each(t *testing.T, test func(t *testing.T, image host.Image)) {
	if *release == "" {
		t.Skip("boots hosts: make test-host")
	}
	root.Needed(t)
	releases := []string{*release}
	if *release == "all" {
		releases = host.Releases
	}
	for _, name := range releases {
		t.Run(name, func(t *testing.T) {
			image, err := host.Build(t.Context(), name)
			check(t, err)
			_, err = packages() // before a host needs the processors
			check(t, err)
			test(t, image)
		})
	}
}

// Versions of the package: the tree as it is, twice.
const (
	older = "v1.2.3"
	newer = "v1.3.0"
)

var packages = sync.OnceValues(func() (map[string]string, error) {
	dir, err := filepath.Abs("../../build/host")
	all := map[string]string{}
	for _, version := range []string{older, newer} {
		if err != nil {
			return nil, err
		}
		out := filepath.Join(dir, version)
		cmd := exec.Command("../../packaging/build.sh", version, out)
		cmd.Env = append(os.Environ(), "ARCHES=amd64")
		if said, failed := cmd.CombinedOutput(); failed != nil {
			err = fmt.Errorf("build packages: %w\n%s", failed, said)
		}
		all[version] = filepath.Join(out, "dynod_"+version[1:]+"-1_amd64.deb")
	}
	return all, err
})

// bounded is a context for one thing that must not take forever.
func bounded(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
