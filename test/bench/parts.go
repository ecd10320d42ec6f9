package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// part is a group of figures that are measured together.
type part struct {
	name    string
	measure func(*bench, context.Context) error
}

// parts are all, in the order in which they are measured.
var parts = []part{
	{"control", (*bench).same},
	{"singles", (*bench).singles},
	{"bursts", (*bench).bursts},
	{"crowd", (*bench).crowd},
	{"slugs", (*bench).slugs},
}

func names() []string {
	var all []string
	for _, p := range parts[1:] {
		all = append(all, p.name)
	}
	return all
}

// chosen are the control and what was asked for.
func chosen(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	asked := strings.Split(only, ",")
	for _, name := range asked {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("there is no figure %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(parts[1:]), func(p part) bool { return !slices.Contains(asked, p.name) }), nil
}

// Runs is how often each thing is measured.
type Runs struct {
	Rounds  int   `json:"rounds"`  // of single starts: each contender once a round, ours oftener
	Repeats int   `json:"repeats"` // of starts at once, restarts of the agent, first starts of a slug
	AtOnce  []int `json:"at_once"` // starts at once
	Idle    []int `json:"idle"`    // idle containers of which memory is read
	Starts  int   `json:"starts"`  // beside idle ones, and of slugs that are on the host
	Slug    int   `json:"slug"`    // megabytes of a large one
}

var (
	full = Runs{Rounds: 40, Repeats: 3, AtOnce: []int{1, 4, 16, 64}, Idle: []int{1, 50, 100, 200}, Starts: 30, Slug: 100}
	few  = Runs{Rounds: 3, Repeats: 1, AtOnce: []int{1, 8}, Idle: []int{1, 8}, Starts: 3, Slug: 5}
)

func (r Runs) String() string {
	return fmt.Sprintf("runs: %d rounds of single starts (ours %d times in each), %d of everything dear, %d starts beside idle ones and of slugs; a large slug has %d MB",
		r.Rounds, oursInARound, r.Repeats, r.Starts, r.Slug)
}
