package doctor_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/test/lab"
)

// found fails the test unless a check finds just this.
func found(t *testing.T, what string, got []report.Finding, want report.Status, words ...string) {
	t.Helper()
	worst := report.OK
	var text strings.Builder
	for _, f := range got {
		if f.Status == report.Failure || worst == report.OK {
			worst = f.Status
		}
		fmt.Fprintf(&text, "%s: %s; ", f.Status, f.Text)
	}
	if worst != want || len(got) == 0 {
		t.Errorf("%s: found %s; want %s", what, &text, want)
	}
	for _, word := range words {
		if !strings.Contains(text.String(), word) {
			t.Errorf("%s: found %s; want %q in it", what, &text, word)
		}
	}
}

func look(t *testing.T, check string, change func(*config.Config)) []report.Finding {
	t.Helper()
	cfg := config.Default()
	change(&cfg)
	return doctor.Look(t.Context(), doctor.Host{Config: cfg}, check)
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// What hangs in the kernel holds up nothing else.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		defer close(until)
		found(t, "hanging", doctor.Hang(t.Context(), until), report.Failure, "does not come to an end within 8s")
	})
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"1.6.20~ds1": true, "v1.7.0": true, "2.0": true, "1.5.9": false, "0.9": false, "": false, "new": false, "10.1": true,
	} {
		if got := doctor.AtLeast(version, 1, 6); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}

func TestUserIDsOfOthers(t *testing.T) {
	h := doctor.Host{Config: config.Default()} // 1879048192, 1280 times 65536
	file := filepath.Join(t.TempDir(), "subuid")
	for text, taken := range map[string]bool{
		"alice:100000:65536\n\n# x\n":                   false,
		"alice:1879048191:1\nbob:1962934272:65536\n":    false,
		"alice:100000:65536\nbob:1879048191:2\n":        true,
		"alice:1962934271:65536\n":                      true,
		"everyone:0:4294967295\n":                       true,
		"alice:1879048192\nbob:x:1879048192\ncarol::\n": false,
	} {
		if got := doctor.Shares(h, write(t, file, text, 0o600)); len(got) > 0 != taken {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if got := doctor.Shares(h, "/nowhere"); got != nil {
		t.Errorf("no file: %+v", got)
	}
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{
		filepath.Join(dir, "none"):                                   "no such file",
		write(t, filepath.Join(dir, "script"), "#!/bin/sh\n", 0o755): "unrecognized file format",
		self: "was built from",
	} {
		found(t, path, look(t, "dyno-init", func(c *config.Config) { c.Containerd.Init = path }), report.Failure, words)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	write(t, filepath.Join(dir, "runc"), "#!/bin/sh\necho runc version 9.9\necho more\n", 0o755)
	found(t, "runc", look(t, "runc", func(*config.Config) {}), report.OK, "version 9.9 ("+dir)
	write(t, filepath.Join(dir, "runc"), "#!/bin/sh\nexit 3\n", 0o755)
	found(t, "a broken runc", look(t, "runc", func(*config.Config) {}), report.Failure, "exit status 3")
}

func TestMemory(t *testing.T) {
	found(t, "enough", look(t, "memory", func(c *config.Config) { c.Host.MemoryReserve = 0 }), report.OK, "of size standard-1x")
	found(t, "none", look(t, "memory", func(c *config.Config) { c.Host.MemoryReserve = 1 << 50 }), report.Failure, "no room")
}

func TestNameServers(t *testing.T) {
	for server, want := range map[string]report.Status{"192.0.2.1": report.OK, "127.0.0.53": report.Warning, "fd00::1": report.Warning} {
		found(t, server, look(t, "name servers", func(c *config.Config) {
			c.Network.Nameservers = []netip.Addr{netip.MustParseAddr(server)}
		}), want)
	}
}

func TestDisk(t *testing.T) {
	l := lab.New(t)
	small := filepath.Join(l.Dir(), "small")
	if err := lab.Ext4(t.Context(), small, 64, "", ""); err != nil {
		t.Fatal(err)
	}
	shut := filepath.Join(l.Run(), "shut")
	if err := os.Mkdir(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(*config.Config)
		status report.Status
		words  string
	}{
		"good":            {func(*config.Config) {}, report.OK, "on ext4"},
		"not made yet":    {func(c *config.Config) { c.StateDir += "/a/b" }, report.OK, "on ext4"},
		"little reserve":  {func(c *config.Config) { c.Logs.ReserveBytes = 1 << 30 }, report.Failure, "less than logs.reserve_bytes"},
		"spool elsewhere": {func(c *config.Config) { c.SpoolDir, c.Logs.ReserveBytes = l.Dir(), 1<<30 }, report.Failure, "state_dir: " + small},
		"little free":     {func(c *config.Config) { c.Artifacts.MinFreePercent = 100 }, report.Warning, "less than artifacts.min_free_percent"},
		"memory":          {func(c *config.Config) { c.StateDir = l.Run() }, report.Warning, "is on tmpfs"},
		"no quotas":       {func(c *config.Config) { c.Sizes = config.Default().Sizes }, report.Warning, "has no project quotas"},
		"run on a disk":   {func(c *config.Config) { c.RunDir = small }, report.Failure, "must be on a tmpfs"},
		"shut":            {func(c *config.Config) { c.RunDir = shut + "/d" }, report.Failure, "cannot pass through " + shut},
	} {
		got := look(t, "disk", func(cfg *config.Config) {
			cfg.StateDir, cfg.RunDir, cfg.Logs.ReserveBytes, cfg.Sizes = small, l.Run(), 1<<20, nil
			cfg.SpoolDir = small + "/spool"
			c.change(cfg)
		})
		found(t, what, got, c.status, c.words)
	}
}
