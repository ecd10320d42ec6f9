package dyno

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
)

// Bounds of an order. The environment's are the kernel's for exec(2): 128 KiB a string, and well below a quarter of
// an 8 MiB stack in all. They hold for a command's words as well.
const (
	MinMemory      = 16 << 20
	MinDisk        = 1 << 20
	maxFiles       = 1 << 20 // the kernel's own default ceiling
	MaxDuration    = time.Hour
	maxTimeToLive  = 366 * 24 * time.Hour
	maxString      = 128<<10 - 1
	maxEnvironment = 1 << 20
	maxReference   = 1024
	maxReason      = 200
)

var (
	uuidPattern   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	appPattern    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	namePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}\.[1-9][0-9]{0,6}$`)
	typePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Violation is one wrong field of an order, by its name on the wire.
type Violation struct{ Field, Problem string }

// Invalid is an order with wrong fields. It is of the class errdefs.ErrInvalidArgument.
type Invalid []Violation

func (v Invalid) Error() string {
	parts := make([]string, len(v))
	for i, w := range v {
		parts[i] = w.Field + ": " + w.Problem
	}
	return strings.Join(parts, "; ")
}

// Unwrap gives the error's class.
func (v Invalid) Unwrap() error { return errdefs.ErrInvalidArgument }

func (v *Invalid) unless(ok bool, field, problem string, args ...any) {
	if !ok {
		*v = append(*v, Violation{field, fmt.Sprintf(problem, args...)})
	}
}

func (v Invalid) orNil() error {
	if len(v) == 0 {
		return nil
	}
	return v
}

// ValidateHeader checks whom an order concerns.
func ValidateHeader(id string, generation int64) error {
	var v Invalid
	v.unless(uuidPattern.MatchString(id), "header.dyno_id", "must be a lower-case UUID, not %.80q", id)
	v.unless(generation >= 1, "header.generation", "must be at least 1")
	return v.orNil()
}

// ValidateStop checks the fields of a stop order. Below zero, grace is absent.
func ValidateStop(grace time.Duration, reason string) error {
	var v Invalid
	v.unless(grace <= MaxDuration, "grace", "must be at most %s", MaxDuration)
	v.reason(reason)
	return v.orNil()
}

// ValidateReason checks the reason of an order, which becomes a line of the app's log.
func ValidateReason(reason string) error {
	var v Invalid
	v.reason(reason)
	return v.orNil()
}

func (v *Invalid) reason(reason string) {
	v.unless(len(reason) <= maxReason && printable(reason), "reason", "must be at most %d printable characters", maxReason)
}

// Validate checks a spec whose defaults are filled in. The error is an Invalid with every wrong field.
func (s Spec) Validate() error {
	var v Invalid
	v.unless(appPattern.MatchString(s.App), "spec.app", "must be 1 to 63 characters of [a-z0-9-], not %.80q", s.App)
	v.unless(namePattern.MatchString(s.Name), "spec.name", "must look like web.1, not %.80q", s.Name)
	v.unless(typePattern.MatchString(s.Type), "spec.type", "must be 1 to 63 characters of [a-z0-9_-], not %.80q", s.Type)
	v.unless(s.Port >= 1024, "spec.port", "must be 1024 to 65535, not %d", s.Port)
	v.unless(s.BootTimeout > 0 && s.BootTimeout <= MaxDuration, "spec.boot_timeout", "must be above 0 and at most %s", MaxDuration)
	v.unless(s.Grace > 0 && s.Grace <= MaxDuration, "spec.grace", "must be above 0 and at most %s", MaxDuration)
	v.unless(s.TimeToLive >= 0 && s.TimeToLive <= maxTimeToLive, "spec.time_to_live", "must be 0 to %s", maxTimeToLive)
	s.Limits.validate(&v)
	s.Artifact.validate(&v, s.Secret)
	s.Command.validate(&v, s.Artifact)
	s.Restart.validate(&v)
	s.Metadata.validate(&v)
	s.validateAttach(&v)
	s.Secret.validate(&v)
	return v.orNil()
}

func (l Limits) validate(v *Invalid) {
	v.unless(l.Memory >= MinMemory, "spec.limits.memory_bytes", "must be at least %d", MinMemory)
	v.unless(l.CPUWeight >= 1 && l.CPUWeight <= 10000, "spec.limits.cpu_weight", "must be 1 to 10000")
	v.unless(l.CPUMilli == 0 || l.CPUMilli >= 10, "spec.limits.cpu_ceiling_milli", "must be 0 or at least 10")
	v.unless(l.Pids >= 8, "spec.limits.pids", "must be at least 8")
	v.unless(l.Files >= 64 && l.Files <= maxFiles, "spec.limits.open_files", "must be 64 to %d", maxFiles)
	v.unless(l.Disk == 0 || l.Disk >= MinDisk, "spec.limits.disk_bytes", "must be at least %d", MinDisk)
}

func (a Artifact) validate(v *Invalid, secret Secret) {
	if a.Image != "" {
		v.unless(len(a.Image) <= maxReference && printable(a.Image), "spec.artifact.image.reference", "must be at most %d printable characters", maxReference)
		return
	}
	v.unless(a.Stack != "", "spec.artifact", "must hold an image reference, or a slug with its stack")
	v.unless(digestPattern.MatchString(a.SHA256), "spec.artifact.slug.sha256", "must be 64 lower-case hexadecimal digits")
	v.unless(secret.SlugURL != "", "spec.artifact.slug.url", "is required")
}

func (c Command) validate(v *Invalid, a Artifact) {
	v.unless(a.Image != "" || c.Line != "", "spec.command.line", "is required for a slug")
	v.unless(c.Line == "" || len(c.Words) == 0, "spec.command", "must hold a line or words, not both")
	v.unless(execString(c.Line), "spec.command.line", "must hold no NUL and be at most %d bytes", maxString)
	v.words("spec.command.words", c.Words)
}

func (v *Invalid) words(field string, words []string) {
	total := 0
	for i, w := range words {
		v.unless(execString(w), fmt.Sprintf("%s[%d]", field, i), "must hold no NUL and be at most %d bytes", maxString)
		total += len(w) + 1
	}
	v.unless(total <= maxEnvironment, field, "must be at most %d bytes in all", maxEnvironment)
}

func (m Metadata) validate(v *Invalid) {
	fields := map[string]string{
		"app_id": m.AppID, "release_id": m.ReleaseID, "release_version": m.ReleaseVersion,
		"slug_commit": m.SlugCommit, "slug_description": m.SlugDescription, "space": m.Space,
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v.unless(len(fields[name]) <= maxReference && printable(fields[name]), "spec.metadata."+name, "must be at most %d printable characters", maxReference)
	}
}

func (s Secret) validate(v *Invalid) {
	total := 0
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		field := fmt.Sprintf("spec.environment[%.80q]", name)
		v.unless(name != "" && !strings.ContainsAny(name, "=\x00"), field, "a name must not be empty and hold no '=' or NUL")
		v.unless(execString(name+"="+s.Environment[name]), field, "must hold no NUL and be at most %d bytes", maxString)
		total += len(name) + len(s.Environment[name]) + 2
	}
	validateSinks(v, s.LogSinks)
	v.unless(total <= maxEnvironment, "spec.environment", "must be at most %d bytes in all", maxEnvironment)
}

func execString(s string) bool { return len(s) <= maxString && !strings.Contains(s, "\x00") }

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
