package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// many is a list of values, written with commas between them in the environment and in flags.
type many[T any] struct {
	to *[]T
	codec[T]
}

func list[T any](to *[]T, c codec[T]) value { return many[T]{to, c} }

func (m many[T]) fromTOML(raw any) error {
	items, ok := raw.([]any)
	if !ok {
		return errors.New("must be a list in square brackets")
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, err := m.plain(item)
		if err != nil {
			return fmt.Errorf("every item %w", err)
		}
		texts = append(texts, text)
	}
	return m.set(texts)
}

func (m many[T]) fromText(text string) error { return m.set(split(text)) }

func (m many[T]) set(texts []string) error {
	var out []T
	for _, text := range texts {
		v, err := m.parse(text)
		if err != nil {
			return fmt.Errorf("item %q %w", text, err)
		}
		out = append(out, v)
	}
	*m.to = out
	return nil
}

func (m many[T]) take(from value) { *m.to = *from.(many[T]).to }

func (m many[T]) toml() string {
	items := make([]string, 0, len(*m.to))
	for _, v := range *m.to {
		items = append(items, m.format(v))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func (m many[T]) kind() string    { return m.codec.kind + " list" }
func (m many[T]) allowed() string { return "list; each item: " + m.codec.allowed() }

// named is a table of strings by name; entries are added to those already there.
type named struct{ to *map[string]string }

func (n named) fromTOML(raw any) error {
	table, ok := raw.(map[string]any)
	if !ok {
		return errors.New(`must be a table of name = "value"`)
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		text, ok := table[name].(string)
		if !ok {
			return fmt.Errorf("item %q must be a string in quotes", name)
		}
		if err := n.add(name, text); err != nil {
			return err
		}
	}
	return nil
}

func (n named) fromText(text string) error {
	for _, item := range split(text) {
		name, val, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("item %q must be written as name=value", item)
		}
		if err := n.add(name, val); err != nil {
			return err
		}
	}
	return nil
}

func (n named) add(name, val string) error {
	if _, err := nameCodec.parse(name); err != nil {
		return fmt.Errorf("name %q %w", name, err)
	}
	if _, err := imageCodec.parse(val); err != nil {
		return fmt.Errorf("item %q %w", name, err)
	}
	if *n.to == nil {
		*n.to = map[string]string{}
	}
	(*n.to)[name] = val
	return nil
}

func (n named) take(from value) { *n.to = *from.(named).to }

func (n named) toml() string {
	items := make([]string, 0, len(*n.to))
	for _, name := range slices.Sorted(maps.Keys(*n.to)) {
		items = append(items, quote(name)+" = "+quote((*n.to)[name]))
	}
	return "{" + strings.Join(items, ", ") + "}"
}

func (n named) kind() string    { return "image table" }
func (n named) allowed() string { return "table of images by name" }

// split cuts a list at its commas; nothing between them is no item.
func split(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
}
