package dyno

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Defaults are the agent's words where an order is silent.
type Defaults struct {
	Sizes       map[string]Limits
	Size        string
	Port        uint16
	BootTimeout time.Duration
	Grace       time.Duration
	Restart     Policy // schedule and reset of an order with backoff that names none
	Sources     Sources
	Policies    []string // network policies beside DefaultPolicy
}

// Sources is where artifacts may come from on this host.
type Sources struct {
	Stacks []string // names of the stack images
	HTTP   bool     // slugs by http:// too
	Files  bool     // slugs by file:// and images by path too
}

// Complete fills in what the order left open and checks the whole.
func (d Defaults) Complete(s Spec) (Spec, error) {
	s.Given = s.given()
	if s.Type == "" {
		s.Type, _, _ = strings.Cut(s.Name, ".")
	}
	s.Size = or(s.Size, d.Size)
	s.Port = or(s.Port, d.Port)
	s.BootTimeout = or(s.BootTimeout, d.BootTimeout)
	s.Grace = or(s.Grace, d.Grace)
	s.NetworkPolicy = or(s.NetworkPolicy, DefaultPolicy)
	s = s.ofType()
	s.Restart = s.Restart.complete(d.Restart)
	size, ok := d.Sizes[s.Size]
	if !ok {
		return s, Invalid{{"spec.size", fmt.Sprintf("unknown size %.80q; known: %s", s.Size, strings.Join(slices.Sorted(maps.Keys(d.Sizes)), ", "))}}
	}
	s.Limits = s.Limits.over(size)
	if known := append([]string{DefaultPolicy}, d.Policies...); !slices.Contains(known, s.NetworkPolicy) {
		return s, Invalid{{"spec.network_policy", fmt.Sprintf("unknown policy %.80q; known: %s", s.NetworkPolicy, strings.Join(known, ", "))}}
	}
	if err := s.Validate(); err != nil {
		return s, err
	}
	return s, d.Sources.admit(s).orNil()
}

// admit refuses what this host would not fetch. The URL itself is secret and stands in no error.
func (from Sources) admit(s Spec) (v Invalid) {
	if s.Artifact.Image != "" {
		v.unless(from.Files || !strings.HasPrefix(s.Artifact.Image, "/"), "spec.artifact.image.reference", "paths are not allowed on this host")
		return v
	}
	v.unless(slices.Contains(from.Stacks, s.Artifact.Stack), "spec.artifact.slug.stack", "unknown stack %.80q; known: %s", s.Artifact.Stack, strings.Join(from.Stacks, ", "))
	u, err := url.Parse(s.Secret.SlugURL)
	known := err == nil && (u.Scheme == "https" || u.Scheme == "http" && from.HTTP || u.Scheme == "file" && from.Files)
	v.unless(known, "spec.artifact.slug.url", "must be an https URL")
	return v
}

// releaseLimit is how long a release may take that an order does not limit.
const releaseLimit = time.Hour

// ofType fills in what a dyno's type means. A release phase is over when its command ends. Other one-off dynos are
// ordered as such, those of a scheduler too: a formation may well have a process of that name.
func (s Spec) ofType() Spec {
	if s.Type == "release" {
		s.OneOff = true
		s.TimeToLive = or(s.TimeToLive, releaseLimit)
	}
	return s
}

// DefaultPolicy is the network policy that every host has.
const DefaultPolicy = "default"

// over is the size's limits with the order's own where it has some. Where the size may swap, so may an own quota, up to
// its own point of R15.
func (l Limits) over(size Limits) Limits {
	l.Memory = or(l.Memory, size.Memory)
	l.R15Percent = size.R15Percent
	if size.Swap > 0 {
		l = l.Swapping()
	}
	l.CPUWeight = or(l.CPUWeight, size.CPUWeight)
	l.CPUMilli = or(l.CPUMilli, size.CPUMilli)
	l.Pids = or(l.Pids, size.Pids)
	l.Files = or(l.Files, size.Files)
	l.Disk = or(l.Disk, size.Disk)
	l.MemoryHigh, l.IOWeight, l.IOBytes, l.IOOperations = size.MemoryHigh, size.IOWeight, size.IOBytes, size.IOOperations
	return l
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
