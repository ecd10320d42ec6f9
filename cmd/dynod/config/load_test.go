package config_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/cmd/dynod/config"
)

// write puts files into a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load reads content as the only file.
func load(t *testing.T, content string, environ []string, flags ...config.Flag) (config.Config, error) {
	t.Helper()
	dir := write(t, map[string]string{"config.toml": content})
	return config.Load(config.Sources{File: filepath.Join(dir, "config.toml"), Environ: environ, Flags: flags})
}

func mustLoad(t *testing.T, content string, environ []string, flags ...config.Flag) config.Config {
	t.Helper()
	c, err := load(t, content, environ, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// inTemp is a file that load wrote.
var inTemp = regexp.MustCompile(`/\S*/config\.toml`)

// problems fails the test unless err is an *Error of exactly these, directories left out.
func problems(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problemsOf(t, err) {
		got = append(got, inTemp.ReplaceAllString(p, "config.toml"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func problemsOf(t *testing.T, err error) []string {
	t.Helper()
	bad := (*config.Error)(nil)
	if !errors.As(err, &bad) {
		t.Fatalf("error %v is no *config.Error", err)
	}
	return bad.Problems
}

func TestLaterSourceWins(t *testing.T) {
	const file = "[defaults]\nport = 6001\n"
	env := []string{"DYNOD_DEFAULTS_PORT=6002"}
	flag := config.Flag{Key: "defaults.port", Text: "6003"}
	for _, c := range []struct {
		name, file string
		env        []string
		flags      []config.Flag
		want       uint16
	}{
		{"default", "", nil, nil, 5000},
		{"file", file, nil, nil, 6001},
		{"environment", file, env, nil, 6002},
		{"flag", file, env, []config.Flag{flag}, 6003},
		{"last flag", file, env, []config.Flag{flag, {Key: "defaults.port", Text: "6004"}}, 6004},
		{"environment alone", "", env, nil, 6002},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustLoad(t, c.file, c.env, c.flags...).Defaults.Port; got != c.want {
				t.Errorf("defaults.port = %d, want %d", got, c.want)
			}
		})
	}
}

func TestConfDirInNameOrder(t *testing.T) {
	dir := write(t, map[string]string{
		"config.toml":            "host_name = \"main\"\n[network]\nclosed_ports = [25, 465]\n[sizes.eco]\npids = 100\n",
		"conf.d/20-b.toml":       "host_name = \"b\"\n[sizes.eco]\nmemory = \"1GiB\"\n",
		"conf.d/10-a.toml":       "host_name = \"a\"\n[network]\nclosed_ports = [26]\n",
		"conf.d/30-c.toml.saved": "unknown = 1\n",
		"conf.d/.40-d.toml":      "unknown = 1\n",
	})
	c, err := config.Load(config.Sources{Environ: []string{"DYNOD_CONFIG=" + filepath.Join(dir, "config.toml")}})
	if err != nil {
		t.Fatal(err)
	}
	if c.HostName != "b" {
		t.Errorf("host_name = %q, want the last file's", c.HostName)
	}
	if diff := cmp.Diff([]uint16{26}, c.Network.ClosedPorts); diff != "" {
		t.Errorf("a list replaces the one before (-want +got):\n%s", diff)
	}
	if eco := c.Sizes["eco"]; eco.Pids != 100 || eco.Memory != 1<<30 || eco.CPUWeight != 100 {
		t.Errorf("keys of a size come together from all files: %+v", eco)
	}
}

func TestEveryKind(t *testing.T) {
	want := config.Default()
	want.HostName = "host-1.example.com"
	want.SpoolDir, want.API.Socket = "/srv/spool", "/run/dynod/dynod.sock"
	want.Log = config.Log{Level: slog.LevelWarn, Format: "json"}
	want.Host.MemoryReserve, want.Host.FirstUID = 1<<30, 100000
	want.API.SocketUIDs = []uint32{0, 1000}
	want.Upstream = config.Upstream{Address: "unix:///run/plane.sock", Heartbeat: 90 * time.Second}
	want.Network.Block = netip.MustParsePrefix("10.8.0.0/16")
	want.Network.ClosedPorts = nil
	want.Network.Nameservers = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("9.9.9.9")}
	want.Artifacts.Stacks = map[string]string{"heroku-24": "registry.example.com/stack@sha256:00", "small": "/srv/small.tar"}
	want.Artifacts.AllowFileURLs = true
	want.Logs.SpoolBytes = 10_000_000
	want.Sizes["nano"] = config.Size{
		Memory: 64 << 20, R15Percent: 200, CPUWeight: 100, Pids: 64, NoFile: 10000, Disk: 4 << 30,
		Bandwidth: 10 << 20, Connections: 500, ConnectionRate: 50,
	}
	want.Network.Policies["intern"] = config.Policy{
		Allow: []config.Destination{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("0.0.0.0/0"), Port: 443}},
		Deny:  []config.Destination{{Prefix: netip.MustParsePrefix("10.1.2.3/32"), Port: 5432}},
	}

	file := mustLoad(t, `
		host_name = "host-1.example.com"
		spool_dir = "/srv/spool"
		log = { level = "warn", format = "json" }
		host.memory_reserve = "1GiB"
		host.first_uid = 100_000
		api.socket_uids = [0, 1000]
		upstream.address = "unix:///run/plane.sock"
		upstream.heartbeat = "1m30s"
		network.block = "10.8.0.0/16"
		network.closed_ports = []
		network.nameservers = ["10.0.0.2", "9.9.9.9"]
		artifacts.allow_file_urls = true
		logs.spool_bytes = 10_000_000
		[artifacts.stacks]
		heroku-24 = "registry.example.com/stack@sha256:00"
		small = "/srv/small.tar"
		[sizes.nano]
		memory = "64MiB"
		pids = 64
		bandwidth = "10MiB"
		connections = 500
		connection_rate = 50
		[network.policies.intern]
		allow = ["10.0.0.0/8", "0.0.0.0/0:443"]
		deny = ["10.1.2.3/32:5432"]
	`, nil)
	if diff := cmp.Diff(want, file, comparableTypes); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}

	delete(want.Sizes, "nano") // sizes and policies come from files only
	delete(want.Network.Policies, "intern")
	env := mustLoad(t, "", []string{
		"DYNOD_HOST_NAME=host-1.example.com",
		"DYNOD_SPOOL_DIR=/srv/spool",
		"DYNOD_LOG_LEVEL=warn",
		"DYNOD_LOG_FORMAT=json",
		"DYNOD_HOST_MEMORY_RESERVE=1g",
		"DYNOD_HOST_FIRST_UID=100000",
		"DYNOD_API_SOCKET_UIDS=0,1000",
		"DYNOD_UPSTREAM_ADDRESS=unix:///run/plane.sock",
		"DYNOD_UPSTREAM_HEARTBEAT=90s",
		"DYNOD_NETWORK_BLOCK=10.8.0.0/16",
		"DYNOD_NETWORK_CLOSED_PORTS=",
		"DYNOD_NETWORK_NAMESERVERS=10.0.0.2,9.9.9.9",
		"DYNOD_ARTIFACTS_STACKS=heroku-24=registry.example.com/stack@sha256:00,small=/srv/small.tar",
		"DYNOD_ARTIFACTS_ALLOW_FILE_URLS=true",
		"DYNOD_LOGS_SPOOL_BYTES=10000000",
		"DYNOD_SOCKET=/run/dynoctl/uses/this.sock",
		"PATH=/bin",
	})
	if diff := cmp.Diff(want, env, comparableTypes); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestWhatEmptyStandsFor(t *testing.T) {
	c := mustLoad(t, `
		state_dir = "/srv/state"
		run_dir = "/srv/run"
	`, nil)
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.HostName, c.SpoolDir, c.API.Socket, c.CaptureSocket()}
	want := []string{name, "/srv/state/spool", "/srv/run/dynod.sock", "/srv/run/capture.sock"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("derived settings (-want +got):\n%s", diff)
	}
}

func TestNamedFileMustExist(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "config.toml")
	for _, src := range []config.Sources{{File: missing}, {Environ: []string{"DYNOD_CONFIG=" + missing}}} {
		_, err := config.Load(src)
		problems(t, err, "open config.toml: no such file or directory")
	}
}

func TestAllProblemsOfAllSources(t *testing.T) {
	dir := write(t, map[string]string{
		"config.toml":      "host_nam = \"x\"\n",
		"conf.d/bad.toml":  "[network\n",
		"conf.d/good.toml": "[defaults]\ngrace = \"2h\"\n",
	})
	_, err := config.Load(config.Sources{
		File:    filepath.Join(dir, "config.toml"),
		Environ: []string{"DYNOD_DEFAULTS_PORT=80"},
		Flags:   []config.Flag{{Key: "log.level", Text: "loud"}, {Key: "log.lvel", Text: "info"}},
	})
	want := strings.ReplaceAll(strings.TrimSpace(`
DIR/config.toml:1:1: unknown key "host_nam"; did you mean "host_name"?
DIR/conf.d/bad.toml:1:9: expected ']' to close table name
DIR/conf.d/good.toml:2:1: defaults.grace = "2h": must be a duration such as "30s" from 0s to 1h
DYNOD_DEFAULTS_PORT: defaults.port = "80": must be a whole number from 1024 to 65535
--log.level: log.level = "loud": must be one of debug, info, warn, error
--log.lvel: unknown setting; did you mean "log.level"?
`), "DIR", dir)
	if err == nil || err.Error() != want {
		t.Errorf("problems:\n%v\nwant:\n%s", err, want)
	}
}
