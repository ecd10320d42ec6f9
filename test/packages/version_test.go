package packages_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/test/lab"
)

func versionOf(t *testing.T, described string) string {
	t.Helper()
	return strings.TrimSpace(output(t, "../../packaging/version.sh", described, "1764000000"))
}

func TestVersions(t *testing.T) {
	lab.Root(t)
	for described, want := range map[string]string{
		"v1.2.3":                  "1.2.3",
		"1.2.3":                   "1.2.3",
		"v1.2.3-rc.1":             "1.2.3~rc.1",
		"v1.2.3-rc1-4-gabc1234":   "1.2.3~rc1+4.gabc1234",
		"v1.2.3-4-gabc1234-dirty": "1.2.3+4.gabc1234+dirty",
		"abc1234":                 "0.0.0+20251124160000.abc1234",
		"unknown":                 "0.0.0+20251124160000.unknown",
		"abc1234-dirty":           "0.0.0+20251124160000.abc1234+dirty",
	} {
		if got := versionOf(t, described); got != want {
			t.Errorf("%s: got %s, want %s", described, got, want)
		}
	}
	for _, bad := range []string{"", "v1.2", "v1.2.3;id", "v1.2.3-4-gxyz", "a b"} {
		if out, err := command(t, time.Minute, "../../packaging/version.sh", bad, "1764000000").CombinedOutput(); err == nil {
			t.Errorf("%q: got %s, want it refused", bad, out)
		}
	}
}

// Both kinds of hosts have to take each of these for newer than the one before.
func TestVersionsSort(t *testing.T) {
	lab.Root(t)
	order := []string{"abc1234", "v0.1.0-rc.1", "v0.1.0-rc.1-2-gfff0000", "v0.1.0-rc.2", "v0.1.0", "v0.1.0-2-gfff0000", "v0.1.0-10-gaaa0000", "v0.2.0-rc.1"}
	for i := range order[1:] {
		older, newer := versionOf(t, order[i])+"-1", versionOf(t, order[i+1])+"-1"
		output(t, "dpkg", "--compare-versions", older, "lt", newer)
		if got := output(t, "rpm", "--eval", fmt.Sprintf("%%{lua: print(rpm.vercmp('%s', '%s'))}", older, newer)); got != "-1\n" {
			t.Errorf("rpm compares %s and %s: got %s, want -1", older, newer, got)
		}
	}
}
