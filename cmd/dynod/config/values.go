package config

import (
	"fmt"
	"strconv"
	"strings"
)

// A value is where one setting is kept, whatever its Go type.
type value interface {
	fromTOML(raw any) error     // raw as go-toml decodes into an any; the error says what is allowed
	fromText(text string) error // as written in the environment or a flag
	toml() string               // as written in a file
	take(from value)            // what another of the same setting has
	kind() string               // one or two words for help
	allowed() string            // kind and bounds for the reference
}

// A codec reads and writes one Go type. The errors of parse end a sentence that names key and value.
type codec[T any] struct {
	kind   string
	bounds string // as "1 to 9", empty where the kind says it all
	takes  taken  // what a file may write it as
	parse  func(text string) (T, error)
	format func(T) string // as TOML
}

// taken is a set of TOML types.
type taken uint8

const (
	takesString taken = 1 << iota
	takesInteger
	takesBool
)

// plain is the text of a TOML value of one of the types that the codec takes.
func (c codec[T]) plain(raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		if c.takes&takesString != 0 {
			return v, nil
		}
	case int64:
		if c.takes&takesInteger != 0 {
			return strconv.FormatInt(v, 10), nil
		}
	case bool:
		if c.takes&takesBool != 0 {
			return strconv.FormatBool(v), nil
		}
	}
	return "", fmt.Errorf("must be written as %s", c.takes)
}

func (t taken) String() string {
	var words []string
	for i, word := range []string{"a string in quotes", "a plain integer", "true or false"} {
		if t&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, " or ")
}

// scalar is one value.
type scalar[T any] struct {
	to *T
	codec[T]
}

func scalarOf[T any](to *T, c codec[T]) value { return scalar[T]{to, c} }

func (s scalar[T]) fromTOML(raw any) error {
	text, err := s.plain(raw)
	if err != nil {
		return err
	}
	return s.fromText(text)
}

func (s scalar[T]) fromText(text string) error {
	v, err := s.parse(text)
	if err == nil {
		*s.to = v
	}
	return err
}

func (s scalar[T]) take(from value) { *s.to = *from.(scalar[T]).to }

func (s scalar[T]) toml() string { return s.format(*s.to) }
func (s scalar[T]) kind() string { return s.codec.kind }

func (c codec[T]) allowed() string {
	if c.bounds == "" {
		return c.kind
	}
	return c.kind + ", " + c.bounds
}
