package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/dynod/dynod/cmd/dynod/config"
)

var comparableTypes = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

// TestFlagsReachTheirFields sets every flag alone and sees that the field of its name changes, and no other: so every
// field has a setting, and no two settings share one.
func TestFlagsReachTheirFields(t *testing.T) {
	const all = `
		host_name = "h"
		spool_dir = "/s"
		[api]
		socket = "/a.sock"
		listen = ":1"
		cert = "/c"
		key = "/k"
		ca = "/a"
		allowed_clients = ["x"]
		[upstream]
		address = "plane:1"
		cert = "/c"
		key = "/k"
		ca = "/a"
	`
	samples := map[string]string{
		"path": "/other", "cgroup path": "/other", "host name": "other", "name": "eco", "address and port": "other:2",
		"number": "2000", "size": "2MiB", "duration": "7s", "boolean": "true", "network": "10.0.0.0/8",
		"number list": "2000", "interface list": "other", "word list": "other", "address list": "10.0.0.2", "duration list": "7s", "image table": "s=/s.tar",
	}
	single := map[string]string{"host.first_uid": "70000", "host.user_namespace": "off", "host.cloud": "ec2", "containerd.runtime": "runc", "log.level": "error", "log.format": "text", "artifacts.min_free_percent": "20", "network.pool": "9", "host.warm_slots": "9"}
	for _, kind := range []string{"spot_interruption", "rebalance", "maintenance", "lifecycle"} {
		single["notices."+kind] = "drain"
	}

	before := leaves(reflect.ValueOf(mustLoad(t, all, nil)), "")
	seen := map[string]bool{}
	settings().VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return
		}
		text := samples[f.Value.Type()]
		if special, ok := single[f.Name]; ok {
			text = special
		}
		after := leaves(reflect.ValueOf(mustLoad(t, all, nil, config.Flag{Key: f.Name, Text: text})), "")
		var changed []string
		for name := range after {
			if !cmp.Equal(before[name], after[name], comparableTypes) {
				changed = append(changed, name)
			}
		}
		want := strings.NewReplacer(".", "", "_", "").Replace(f.Name)
		if len(changed) != 1 || changed[0] != want {
			t.Errorf("--%s=%s changed %v", f.Name, text, changed)
		}
		seen[want] = true
	})
	for name := range before {
		if !seen[name] {
			t.Errorf("field %s has no setting", name)
		}
	}
}

// leaves are the fields of a struct by their names, lower-case and joined, Sizes left out.
func leaves(v reflect.Value, prefix string) map[string]any {
	out := map[string]any{}
	for i := range v.NumField() {
		name := prefix + strings.ToLower(v.Type().Field(i).Name)
		switch field := v.Field(i); {
		case name == "sizes", name == "networkpolicies": // come from files only
		case field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[netip.Prefix]():
			for n, leaf := range leaves(field, name) {
				out[n] = leaf
			}
		default:
			out[name] = field.Interface()
		}
	}
	return out
}

func settings() *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(config.FlagSet).Bind(fs)
	return fs
}

func TestFlagSet(t *testing.T) {
	dir := write(t, map[string]string{"c.toml": "[defaults]\nport = 6001\n"})
	var flags config.FlagSet
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Bind(fs)
	args := []string{
		"--config=" + filepath.Join(dir, "c.toml"), "--artifacts.allow_file_urls", "--artifacts.stacks", "a=/a.tar",
		"--artifacts.stacks=b=/b.tar", "--network.closed_ports=25,26",
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(flags.Sources(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default().Artifacts
	want.Stacks, want.AllowFileURLs = map[string]string{"a": "/a.tar", "b": "/b.tar"}, true
	if diff := cmp.Diff(want, c.Artifacts); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint16{25, 26}, c.Network.ClosedPorts); diff != "" || c.Defaults.Port != 6001 {
		t.Errorf("port %d, closed ports (-want +got):\n%s", c.Defaults.Port, diff)
	}
}

func TestUnknownFlagIsExplained(t *testing.T) {
	err := config.ExplainFlag(settings().Parse([]string{"--network.blok=x"}))
	if want := `unknown flag: --network.blok; did you mean "network.block"?`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestDefaultFileSaysTheDefaults(t *testing.T) {
	want := mustLoad(t, "", nil)
	if diff := cmp.Diff(want, mustLoad(t, config.DefaultTOML(), nil), comparableTypes); diff != "" {
		t.Errorf("default file as it is (-empty +file):\n%s", diff)
	}
	active, err := load(t, regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAllString(config.DefaultTOML(), "$1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, active, comparableTypes); diff != "" {
		t.Errorf("every line active (-empty +file):\n%s", diff)
	}
}

func TestDefaultFileNamesEverySetting(t *testing.T) {
	settings().VisitAll(func(f *pflag.Flag) {
		key := f.Name[strings.LastIndexByte(f.Name, '.')+1:]
		if f.Name != "config" && !strings.Contains(config.DefaultTOML(), "\n#"+key+" = ") {
			t.Errorf("default file lacks %s", f.Name)
		}
	})
}

// TestGeneratedFiles holds the files in the repository equal to what dynod prints.
func TestGeneratedFiles(t *testing.T) {
	for _, c := range []struct{ path, verb, want string }{
		{"packaging/config.toml", "default", config.DefaultTOML()},
		{"docs/configuration.md", "reference", config.Reference()},
	} {
		got, err := os.ReadFile(filepath.Join("../../..", c.path))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s is old: go run ./cmd/dynod config %s >%s\n%s", c.path, c.verb, c.path, diff)
		}
	}
}

func TestDefaultSizesKeepTheContract(t *testing.T) {
	for _, want := range []struct {
		names           string
		memoryMiB, pids int64
		swap            bool
	}{
		{"eco basic standard-1x", 512, 256, true},
		{"standard-2x", 1024, 512, true},
		{"private-s shield-s", 1024, 512, false},
		{"performance-m", 2560, 16384, true},
		{"private-m", 2560, 16384, false},
		{"performance-l", 14336, 32768, true},
		{"performance-l-ram", 30720, 24576, true},
		{"performance-xl", 63488, 32768, true},
		{"performance-2xl", 129024, 65536, true},
	} {
		for name := range strings.FieldsSeq(want.names) {
			got := config.Default().Sizes[name]
			if got.Memory != want.memoryMiB<<20 || got.Pids != want.pids || got.Swap != want.swap || got.R15Percent != 200 {
				t.Errorf("%s = %+v, want %+v", name, got, want)
			}
		}
	}
	sizes := config.Default().Sizes
	for name, size := range sizes {
		files, weight := uint64(1<<20), uint64(10000)
		switch name {
		case "eco", "basic", "standard-1x":
			files, weight = 10000, 100
		case "standard-2x":
			files, weight = 10000, 200
		}
		if size.NoFile != files || size.CPUWeight != weight || size.Disk == 0 {
			t.Errorf("%s = %+v, want %d open files, weight %d, a disk quota", name, size, files, weight)
		}
	}
	if sizes["standard-2x"].CPUWeight != 2*sizes["standard-1x"].CPUWeight {
		t.Error("standard-2x has not twice the share of standard-1x")
	}
}

// FuzzFile: whatever a file holds, Load answers with settings or with an *Error.
func FuzzFile(f *testing.F) {
	f.Add(config.DefaultTOML())
	f.Add("a.b = {c = [1, {d = 2}]}\n[[sizes.\"x\"]]\n[sizes]\n'' = 1")
	f.Add("[artifacts]\nstacks = {a = '/x'}\n[artifacts.stacks]\n")
	name := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Sources{File: name}); err != nil {
			problemsOf(t, err)
		}
	})
}
