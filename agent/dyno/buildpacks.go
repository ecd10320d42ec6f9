package dyno

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Where Cloud Native Buildpacks put the program that sets up a process's environment and then becomes it.
const (
	launcher   = "/cnb/lifecycle/launcher"
	processDir = "/cnb/process/" // holds a link to it for each process type
)

// Buildpacks is what a Cloud Native Buildpacks image says about itself.
type Buildpacks struct {
	Types  []string `json:"types"`            // its process types
	Legacy bool     `json:"legacy,omitempty"` // its launcher is told the type as an argument
}

// arguments are how the launcher is told what to start: the order's command, or else the process of the dyno's type.
func (b Buildpacks) arguments(s Spec) []string {
	switch {
	case s.Command.Line != "":
		return []string{launcher, s.Command.Line} // a single word is for the launcher's shell
	case len(s.Command.Words) > 0:
		return append([]string{launcher, "--"}, s.Command.Words...)
	case b.Legacy:
		return []string{launcher, s.Type}
	default:
		return []string{processDir + s.Type}
	}
}

// UnfitError is an image that a dyno cannot be started from as it was ordered. What it says is meant for the app's owner.
// It is of the class errdefs.ErrInvalidArgument.
type UnfitError struct{ Problem string }

func (e *UnfitError) Error() string { return e.Problem }

// Unwrap gives the error's class.
func (e *UnfitError) Unwrap() error { return errdefs.ErrInvalidArgument }

// closed are directories in which no command starts: what is there belongs to the kernel.
var closed = []string{"/proc", "/sys", "/dev"}

// Fits says whether a dyno can be started from an image as ordered, before anything of it is made. The error is an
// *UnfitError.
func (s Spec) Fits(image Image) error {
	b := image.Buildpacks
	if b != nil && s.Command.empty() && !slices.Contains(b.Types, s.Type) {
		return unfit("The image has no process type %.80q; it has: %s", s.Type, strings.Join(b.shown(), ", "))
	}
	dir := s.Directory(image)
	if !path.IsAbs(dir) {
		return unfit("The image's working directory %.80q is not an absolute path", dir)
	}
	for _, top := range closed {
		if clean := path.Clean(dir); clean == top || strings.HasPrefix(clean, top+"/") {
			return unfit("The image's working directory %.80q is below %s", dir, top)
		}
	}
	return fitStrings(append(append([]string{dir}, s.Arguments(image)...), image.Environment...))
}

// fitStrings keeps the kernel's bounds of exec(2), as orders keep them.
func fitStrings(words []string) error {
	total := 0
	for _, w := range words {
		if !execString(w) {
			return unfit("The image's configuration holds a text with a NUL, or of more than %d bytes", maxString)
		}
		total += len(w) + 1
	}
	if total > maxEnvironment {
		return unfit("The image's command and environment have more than %d bytes", maxEnvironment)
	}
	return nil
}

// shown are the types as an error names them: what an image says may be long.
func (b Buildpacks) shown() []string {
	const most = 20
	var types []string
	for _, t := range b.Types[:min(len(b.Types), most)] {
		types = append(types, fmt.Sprintf("%.80q", t))
	}
	if len(b.Types) > most {
		types = append(types, "…")
	}
	return types
}

func (c Command) empty() bool { return c.Line == "" && len(c.Words) == 0 }

func unfit(format string, args ...any) error { return &UnfitError{fmt.Sprintf(format, args...)} }
