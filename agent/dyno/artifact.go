package dyno

import (
	"slices"
	"strings"
	"time"
)

// ValidateArtifact checks an artifact that is asked for without a dyno, as an order's would be. The error is an Invalid.
func (from Sources) ValidateArtifact(a Artifact, secret Secret) error {
	var v Invalid
	a.validate(&v, secret)
	if len(v) == 0 {
		v = from.admit(Spec{Artifact: a, Secret: secret})
	}
	for i := range v {
		v[i].Field = strings.TrimPrefix(v[i].Field, "spec.")
	}
	return v.orNil()
}

// Cached is an artifact on this host.
type Cached struct {
	Name       string // an image's reference, or "SHA256:<hex>" of a slug
	Bytes      int64  // on disk
	References int    // living dynos that use it
	Stack      bool   // a stack image of the configuration: never removed
	Used       time.Time
	Disk       Disk
}

// Disk is the filesystem that an artifact lies on.
type Disk struct {
	ID          uint64
	Bytes, Free int64
}

// Keeping is how long artifacts stay that no dyno uses.
type Keeping struct {
	MaxUnused      time.Duration // 0: for ever
	MinFreePercent int           // of a filesystem: below it, those that were used longest ago go
}

// Unused are the artifacts that no dyno has used for so long.
func Unused(all []Cached, unused time.Duration, now time.Time) []Cached {
	var old []Cached
	for _, c := range all {
		if c.References == 0 && !c.Stack && now.Sub(c.Used) >= unused {
			old = append(old, c)
		}
	}
	return old
}

// Evict are the artifacts that have to go: those unused for too long, and on each filesystem that is short of room as
// many more as give it back, those used longest ago first. Images that share layers give back less than their sizes say:
// the next look sees that.
func (k Keeping) Evict(all []Cached, now time.Time) []Cached {
	candidates := Unused(all, 0, now)
	slices.SortStableFunc(candidates, func(a, b Cached) int { return a.Used.Compare(b.Used) })
	freed := map[uint64]int64{}
	return slices.DeleteFunc(candidates, func(c Cached) bool {
		old := k.MaxUnused > 0 && now.Sub(c.Used) >= k.MaxUnused
		short := c.Disk.Free+freed[c.Disk.ID] < c.Disk.Bytes/100*int64(k.MinFreePercent)
		if !old && !short {
			return true
		}
		freed[c.Disk.ID] += c.Bytes
		return false
	})
}
