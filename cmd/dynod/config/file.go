package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// file reads one TOML file into the settings.
func (l *loader) file(name string) {
	document, err := os.ReadFile(name)
	if err != nil {
		l.problem("%v", err)
		return
	}
	var tree map[string]any
	if err := toml.Unmarshal(document, &tree); err != nil {
		l.problem("%s", syntaxError(name, err))
		return
	}
	walker{l, name, positions(document)}.table("", tree)
}

// syntaxError puts the place before what the parser says.
func syntaxError(name string, err error) string {
	text := strings.TrimPrefix(err.Error(), "toml: ")
	if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
		line, column := at.Position()
		return fmt.Sprintf("%s:%d:%d: %s", name, line, column, text)
	}
	return name + ": " + text
}

// walker goes through the tree of one file in the order of its lines.
type walker struct {
	*loader
	name string
	at   map[string]position
}

func (w walker) table(section string, tree map[string]any) {
	full := func(name string) string { return strings.TrimPrefix(section+"."+name, ".") }
	names := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		return w.at[full(a)].compare(w.at[full(b)])
	})
	for _, name := range names {
		w.entry(full(name), section, name, tree[name])
	}
}

// kinds are the sections whose entries have names of the operator's own, with what those are.
var kinds = map[string]string{"sizes": "size", "network.policies": "policy"}

func (w walker) entry(key, section, name string, raw any) {
	if kind := kinds[section]; kind != "" && !w.sections[key] {
		if _, err := nameCodec.parse(name); err != nil || strings.Contains(name, ".") {
			w.problem("%s: %q is no name for a %s: letters, digits, dashes and underscores", w.where(key), name, kind)
			return
		}
		w.addNamed(section, name)
	}
	if s := w.rows[key]; s != nil {
		w.set(s, w.where(key), written(raw), func() error { return s.value.fromTOML(raw) })
		return
	}
	w.enter(key, raw)
}

// enter goes on into a section, or refuses what is neither section nor setting.
func (w walker) enter(key string, raw any) {
	table, isTable := raw.(map[string]any)
	switch {
	case w.sections[key] && isTable:
		w.table(key, table)
	case w.sections[key]:
		w.problem("%s: %s must be a section, [%s]", w.where(key), key, key)
	case isTable:
		w.problem("%s: unknown section [%s]%s", w.where(key), key, hint(key, slices.Sorted(maps.Keys(w.sections))))
	default:
		w.problem("%s: unknown key %q%s", w.where(key), key, hint(key, w.keys()))
	}
}

// where is the place of a key as compilers write it.
func (w walker) where(key string) string {
	return fmt.Sprintf("%s:%d:%d", w.name, w.at[key].line, w.at[key].column)
}

// written is a value about as it stands in the file.
func written(raw any) string {
	switch v := raw.(type) {
	case string:
		return quote(v)
	case []any:
		items := make([]string, 0, len(v))
		for _, item := range v {
			items = append(items, written(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		return "{…}"
	default:
		return fmt.Sprint(v)
	}
}
