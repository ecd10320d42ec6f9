package config

import (
	"cmp"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in a file, both counted from 1.
type position struct{ line, column int }

// compare orders positions as they are read.
func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
}

// positions finds the first place of every key and section of a document that go-toml has already accepted, by its
// whole dotted name.
func positions(document []byte) map[string]position {
	f := finder{found: map[string]position{}}
	f.parser.Reset(document)
	var section []string
	for f.parser.NextExpression() {
		switch e := f.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			section = f.keys(nil, e.Key())
		case unstable.KeyValue:
			f.keyValue(section, e)
		}
	}
	return f.found
}

type finder struct {
	parser unstable.Parser
	found  map[string]position
}

// keys notes a dotted key and returns its parts behind those of its section.
func (f *finder) keys(section []string, key unstable.Iterator) []string {
	parts := append([]string(nil), section...)
	for key.Next() {
		parts = append(parts, string(key.Node().Data))
		name := strings.Join(parts, ".")
		if _, ok := f.found[name]; !ok {
			at := f.parser.Shape(key.Node().Raw).Start
			f.found[name] = position{at.Line, at.Column}
		}
	}
	return parts
}

func (f *finder) keyValue(section []string, e *unstable.Node) {
	parts := f.keys(section, e.Key())
	if e.Value().Kind != unstable.InlineTable {
		return
	}
	for inner := e.Value().Children(); inner.Next(); {
		f.keyValue(parts, inner.Node())
	}
}
