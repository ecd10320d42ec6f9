package resolv_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/dynod/dynod/cmd/dynod/resolv"
)

func TestHost(t *testing.T) {
	const stub = "nameserver 127.0.0.53\noptions edns0\n"
	for what, c := range map[string]struct {
		files  []string // empty: missing
		want   string
		serves bool
	}{
		"a server":             {[]string{"nameserver 192.0.2.1\nsearch a.test\n"}, "nameserver 192.0.2.1\nsearch a.test\n", true},
		"one on the loopback":  {[]string{"nameserver ::1\nnameserver 127.0.0.1\nnameserver 192.0.2.1"}, "nameserver 192.0.2.1", true},
		"systemd-resolved":     {[]string{stub, "nameserver 192.0.2.2\n"}, "nameserver 192.0.2.2\n", true},
		"both":                 {[]string{"nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n"}, "nameserver 192.0.2.1\n", true},
		"no other file":        {[]string{stub, ""}, "options edns0\n", false},
		"none behind it":       {[]string{stub, "# nothing yet\n"}, "options edns0\n", false},
		"out of reach":         {[]string{"nameserver fd00::1\nnameserver 169.254.169.254\n", ""}, "nameserver fd00::1\nnameserver 169.254.169.254\n", false},
		"out of reach at once": {[]string{"nameserver fd00::1\n", "nameserver 192.0.2.2\n"}, "nameserver 192.0.2.2\n", true},
		"none":                 {[]string{"", ""}, "", false},
	} {
		var paths []string
		for _, text := range c.files {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if text != "" {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			paths = append(paths, path)
		}
		conf := resolv.Host(paths)
		if servers := resolv.Servers(conf); string(conf) != c.want || len(servers) > 0 != c.serves {
			t.Errorf("%s: got %q with %s in reach", what, conf, servers)
		}
	}
}

func TestConfiguredServers(t *testing.T) {
	conf := resolv.Conf([]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")})
	if string(conf) != "nameserver 192.0.2.1\nnameserver fd00::1\n" {
		t.Errorf("got %q", conf)
	}
}
