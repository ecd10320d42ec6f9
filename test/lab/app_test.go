package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynod/dynod/test/lab"
)

func TestAppSlugHoldsTheApp(t *testing.T) {
	lab.Root(t)
	slug, _, err := lab.AppSlug(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", slug, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack slug: %v\n%s", err, out)
	}
	burst := exec.Command(filepath.Join(dir, "app", "web"), "burst", "1000")
	burst.Env = append(os.Environ(), "STREAM=err")
	var lines strings.Builder
	burst.Stderr = &lines
	if err := burst.Run(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(lines.String(), "seq=1\nseq=2\n") || !strings.HasSuffix(lines.String(), "seq=1000\nend seq=1000\n") {
		t.Errorf("wrote %q", lines.String())
	}
}
