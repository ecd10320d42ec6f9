// Package packages_test holds the packages to what hosts expect of them: built twice they are the same bytes, the
// distributions' checkers find nothing, and a Debian takes them in, up, out and off again.
package packages_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/test/lab"
)

const (
	version = "v1.2.3"
	deb     = "dynod_1.2.3-1_%s.deb"
	rpm     = "dynod-1.2.3-1.%s.rpm"
)

// built is where the packages of this tree are; TestMain makes them.
var built string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dynod-packages-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	built = filepath.Join(dir, "packages")
	return m.Run()
}

// packages are the files of the one build that all tests look at.
func packages(t *testing.T, form string, arches ...string) []string {
	t.Helper()
	lab.Root(t)
	if _, err := os.Stat(built); errors.Is(err, os.ErrNotExist) {
		build(t, "../..", built)
	}
	var all []string
	for _, arch := range arches {
		all = append(all, filepath.Join(built, fmt.Sprintf(form, arch)))
	}
	return all
}

func build(t *testing.T, tree, out string, env ...string) {
	t.Helper()
	cmd := command(t, 10*time.Minute, filepath.Join(tree, "packaging/build.sh"), version, out)
	cmd.Env = append(append(cmd.Environ(), "SOURCE_DATE_EPOCH=1764000000"), env...)
	succeed(t, cmd)
}

// command has a deadline that a busy machine keeps.
func command(t *testing.T, limit time.Duration, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

// succeed returns what the command says.
func succeed(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	return succeed(t, command(t, 2*time.Minute, name, args...))
}

// Another directory, another umask, time zone, language and user's name.
func TestBuildsAreTheSameBytes(t *testing.T) {
	packages(t, deb)
	tree, again := filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(t.TempDir(), "out")
	output(t, "sh", "-c", `umask 077; mkdir "$2" && cd "$1" && git ls-files -zco --exclude-standard | tar c --null -T - | tar x -C "$2"`, "sh", "../..", tree)
	build(t, tree, again, "TZ=Pacific/Auckland", "LC_ALL=C.UTF-8", "USER=somebody", "LOGNAME=somebody", "DYNOD_SOCKET=/elsewhere")

	if diff := cmp.Diff(sums(t, built), sums(t, again)); diff != "" {
		t.Errorf("packages differ (-first +second):\n%s", diff)
	}
}

func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Fatalf("%s: got %v, %v; want 4 packages", dir, files, err)
	}
	all := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[file.Name()] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	return all
}
