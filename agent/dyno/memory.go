package dyno

import "fmt"

// Memory is one look at a running dyno's memory, bytes. Nothing is counted twice.
type Memory struct {
	RSS, Swap, Cache  int64
	PagesIn, PagesOut uint64 // since its start; 0 where the kernel does not count them
}

// Total is what the quota bounds.
func (m Memory) Total() int64 { return m.RSS + m.Swap + m.Cache }

// Vast is how much memory and swap ends a dyno by R15, bytes; 0: no amount does.
func (l Limits) Vast() int64 { return l.Memory * l.R15Percent / 100 }

// Exceeded says what a look at a dyno means: R14, which it outlives, R15, which it does not, or nothing.
func (l Limits) Exceeded(m Memory) ErrorCode {
	switch {
	case l.Vast() > 0 && m.RSS+m.Swap >= l.Vast():
		return R15
	case m.Total() > l.Memory:
		return R14
	}
	return ""
}

// Swapping is the limits of a dyno that may swap: so much that the kernel's own bound is the point of R15.
func (l Limits) Swapping() Limits {
	l.Swap = max(0, l.Vast()-l.Memory)
	return l
}

// LineMemory tells how much of its quota a dyno uses, both in bytes.
func LineMemory(total, quota int64) string {
	return fmt.Sprintf("Process running mem=%dM(%.1f%%)", total>>20, 100*float64(total)/float64(quota))
}

// Lines of R14 and R15.
const (
	LineMemoryExceeded = "Error R14 (Memory quota exceeded)"
	LineMemoryVast     = "Error R15 (Memory quota vastly exceeded)"
)

// LinesVast are what is told of a dyno that is ended by R15 and had so many bytes at most. The kernel does not always
// say how many: it was the quota at least.
func (l Limits) LinesVast(peak int64) []string {
	return []string{LineMemory(max(peak, l.Memory), l.Memory), LineMemoryVast, LineKilling}
}

// OutOfMemory is e when the dyno's own limit has cost it a process: all of it goes then, whatever its first process
// made of that.
func (e Exit) OutOfMemory(peak int64) Exit {
	e.Code, e.Signal, e.OOM, e.Peak, e.Error = 137, 9, true, peak, R15
	return e
}

// HostOutOfMemory is e when the kernel ended a dyno that kept its quota: that is the platform's fault.
func (e Exit) HostOutOfMemory() Exit {
	e.Failure, e.Error = "the host ran out of memory", R99
	return e
}

// LastLines are told of an exit whose status is known, before it, unless they were when the dyno was killed.
func (r Record) LastLines(e Exit) []string {
	switch {
	case e.Failure != "":
		return []string{LinePlatform(e.Failure)}
	case e.Error == R15 && r.Killed.IsZero():
		return r.Spec.Limits.LinesVast(e.Peak)
	}
	return nil
}
