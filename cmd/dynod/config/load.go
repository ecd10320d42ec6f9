package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// DefaultFile is read when no other file is named; it may be missing.
	DefaultFile = "/etc/dynod/config.toml"

	// fileVariable names another file than DefaultFile, as --config does; that file must exist.
	fileVariable = "DYNOD_CONFIG"

	unixScheme = "unix://"
)

// foreign are variables of dynoctl, which may stand in the environment of an agent.
var foreign = []string{"DYNOD_SOCKET", "DYNOD_ADDRESS", "DYNOD_OUTPUT", "DYNOD_CERT", "DYNOD_KEY", "DYNOD_CA"}

// Sources is where settings come from, beside the defaults.
type Sources struct {
	File    string   // as named by --config; empty: DYNOD_CONFIG, or else DefaultFile if there is one
	Environ []string // as of os.Environ
	Flags   []Flag   // in the order of the command line
}

// NamedFile is the file that the command line or else the environment names, empty without one.
func (s Sources) NamedFile() string {
	if s.File != "" {
		return s.File
	}
	for _, v := range s.Environ {
		if file, ok := strings.CutPrefix(v, fileVariable+"="); ok {
			return file
		}
	}
	return ""
}

// String names the files, in the order in which they are read.
func (s Sources) String() string {
	if files := (&loader{}).files(s); len(files) > 0 {
		return "read from " + strings.Join(files, ", ")
	}
	return "no file: the defaults"
}

// Flag is one setting from the command line.
type Flag struct{ Key, Text string }

// Error is a configuration that cannot be used. Trying again does not help.
type Error struct {
	Problems []string // one sentence each: where, which key and value, what is allowed
}

// Error is all problems, one a line.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Load reads all sources, fills in what follows from other settings and checks the whole. Its error is an *Error
// that holds every problem found.
func Load(src Sources) (Config, error) {
	l := newLoader()
	for _, name := range l.files(src) {
		l.file(name)
	}
	l.environ(src.Environ)
	l.flags(src.Flags)
	l.finish()
	l.check()
	if len(l.problems) > 0 {
		return Config{}, &Error{l.problems}
	}
	return *l.cfg, nil
}

// loader collects values and problems, source by source.
type loader struct {
	cfg      *Config
	rows     map[string]*setting
	sections map[string]bool
	sizes    map[string]*Size // what the rows of sizes point into
	policies map[string]*Policy
	problems []string
}

func newLoader() *loader { return loaderOf(Default()) }

// loaderOf is one whose settings stand as they do in cfg, which it does not change.
func loaderOf(cfg Config) *loader {
	cfg.Sizes, cfg.Network.Policies = maps.Clone(cfg.Sizes), maps.Clone(cfg.Network.Policies)
	l := &loader{cfg: &cfg, rows: map[string]*setting{}, sections: map[string]bool{}, sizes: map[string]*Size{}, policies: map[string]*Policy{}}
	for _, s := range cfg.settings() {
		l.rows[s.key] = s
	}
	for _, s := range sections {
		l.sections[s.name] = true
	}
	for name, size := range cfg.Sizes {
		l.addSize(name, size)
	}
	for name, policy := range cfg.Network.Policies {
		l.addPolicy(name, policy)
	}
	return l
}

func (l *loader) addSize(name string, size Size) {
	l.sizes[name] = &size
	l.addSection("sizes."+name, sizeSettings(name, &size))
}

func (l *loader) addPolicy(name string, policy Policy) {
	l.policies[name] = &policy
	l.addSection("network.policies."+name, policySettings(name, &policy))
}

func (l *loader) addSection(name string, rows []*setting) {
	l.sections[name] = true
	for _, s := range rows {
		l.rows[s.key] = s
	}
}

// addNamed adds an entry of one of the kinds.
func (l *loader) addNamed(section, name string) {
	if section == "sizes" {
		l.addSize(name, newSize())
	} else {
		l.addPolicy(name, Policy{})
	}
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// set gives one setting its value from one source; written is the value as the operator wrote it.
func (l *loader) set(s *setting, where, written string, assign func() error) {
	if err := assign(); err != nil {
		l.problem("%s: %s = %s: %v", where, s.key, written, err)
		return
	}
	s.from = where
}

func (l *loader) text(s *setting, where, text string) {
	l.set(s, where, quote(text), func() error { return s.value.fromText(text) })
}

// files lists what to read, in order: the main file, then *.toml in conf.d beside it.
func (l *loader) files(src Sources) []string {
	name := src.NamedFile()
	explicit := name != ""
	if !explicit {
		name = DefaultFile
	}
	parts := l.parts(filepath.Join(filepath.Dir(name), "conf.d"))
	if _, err := os.Stat(name); !explicit && errors.Is(err, fs.ErrNotExist) {
		return parts
	}
	return append([]string{name}, parts...)
}

func (l *loader) parts(dir string) []string {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problem("%v", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".toml") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names
}

func (l *loader) environ(environ []string) {
	byName := map[string]*setting{}
	for _, s := range l.rows {
		if s.env() != "" {
			byName[s.env()] = s
		}
	}
	for _, v := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(v, "=")
		switch s := byName[name]; {
		case s != nil:
			l.text(s, name, text)
		case strings.HasPrefix(name, "DYNOD_") && name != fileVariable && !slices.Contains(foreign, name):
			l.problem("%s: unknown variable%s", name, hint(name, slices.Sorted(maps.Keys(byName))))
		}
	}
}

func (l *loader) flags(flags []Flag) {
	for _, f := range flags {
		if s := l.rows[f.Key]; s != nil {
			l.text(s, "--"+f.Key, f.Text)
			continue
		}
		l.problem("--%s: unknown setting%s", f.Key, hint(f.Key, l.keys()))
	}
}

func (l *loader) keys() []string { return slices.Sorted(maps.Keys(l.rows)) }

// hint is the end of a sentence about an unknown name.
func hint(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// finish fills in what the empty value of a setting stands for.
func (l *loader) finish() {
	c := l.cfg
	if c.HostName == "" {
		name, err := os.Hostname()
		if err != nil {
			l.problem("host_name is empty and the kernel tells none: %v", err)
		}
		c.HostName = name
	}
	if c.SpoolDir == "" {
		c.SpoolDir = filepath.Join(c.StateDir, "spool")
	}
	if c.API.Socket == "" {
		c.API.Socket = filepath.Join(c.RunDir, "dynod.sock")
	}
	l.gather()
}

// gather takes sizes and policies from where the rows have them.
func (l *loader) gather() {
	for name, size := range l.sizes {
		l.cfg.Sizes[name] = *size
	}
	for name, policy := range l.policies {
		l.cfg.Network.Policies[name] = *policy
	}
}
