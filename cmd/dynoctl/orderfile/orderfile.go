// Package orderfile reads start orders that people write, for dynoctl and dynoplane. It checks their form only: what an
// order may hold is the agent's to judge.
package orderfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// position is what protojson puts before its messages. It speaks of the JSON made from the YAML, which nobody wrote;
// after "proto:" it randomly has one of two kinds of space.
var position = regexp.MustCompile(`^proto:[\s\x{a0}]*(\(line \d+:\d+\):)?[\s\x{a0}]*`)

// Parse reads a StartDynoRequest in protobuf's JSON form, or the same as YAML. A key that the API does not know and a
// key given twice are errors. Without an id the order gets a random one, without a generation 1.
func Parse(data []byte) (*dynodv1.StartDynoRequest, error) {
	text, err := toJSON(data)
	if err != nil {
		return nil, err
	}
	order := &dynodv1.StartDynoRequest{}
	if err := protojson.Unmarshal(text, order); err != nil {
		return nil, errors.New("parse order: " + position.ReplaceAllString(err.Error(), ""))
	}
	if order.GetSpec() == nil {
		return nil, errors.New("parse order: it has no spec")
	}
	Complete(order)
	return order, nil
}

func toJSON(data []byte) ([]byte, error) {
	// JSON indented with tabs is no YAML.
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return data, nil
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("parse order: %w", err)
	}
	return text, nil
}

// Complete gives an order an id and a generation, where it has none.
func Complete(order *dynodv1.StartDynoRequest) {
	if order.Header == nil {
		order.Header = &dynodv1.OrderHeader{}
	}
	if order.Header.DynoId == "" {
		order.Header.DynoId = uuid.NewString()
	}
	if order.Header.Generation == 0 {
		order.Header.Generation = 1
	}
}

// SetEnv puts pairs of the form KEY=VALUE over the order's environment.
func SetEnv(order *dynodv1.StartDynoRequest, pairs []string) error {
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return fmt.Errorf("set environment: %q is not KEY=VALUE", pair)
		}
		if order.Spec.Environment == nil {
			order.Spec.Environment = map[string]string{}
		}
		order.Spec.Environment[key] = value
	}
	return nil
}
