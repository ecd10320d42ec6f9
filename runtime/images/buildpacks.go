package images

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// buildLabel is where Cloud Native Buildpacks say what they have built.
	buildLabel = "io.buildpacks.build.metadata"
	// platformAPI is the variable that says by which version of the platform interface an image wants to be started.
	platformAPI = "CNB_PLATFORM_API"
	maxLabel    = 1 << 20
	maxTypes    = 1000
)

// Buildpacks is what a Cloud Native Buildpacks image says about itself.
type Buildpacks struct {
	Types  []string // its process types
	Legacy bool     // its launcher is told the type as an argument: platform interface 0.3 and before
}

// readBuildpacks is nil for an image without the label. A label that cannot be read is an image that cannot be started
// as its builder meant it: InvalidArgument.
func readBuildpacks(config ocispec.ImageConfig) (*Buildpacks, error) {
	text, ok := config.Labels[buildLabel]
	if !ok {
		return nil, nil //nolint:nilnil // most images are none
	}
	if len(text) > maxLabel {
		return nil, fmt.Errorf("read label %s: %w: it has more than %d bytes", buildLabel, errdefs.ErrInvalidArgument, maxLabel)
	}
	// How a process is executed is the launcher's business, which has the same in a file of its own.
	var metadata struct {
		Processes []struct {
			Type string `json:"type"`
		} `json:"processes"`
	}
	if err := json.Unmarshal([]byte(text), &metadata); err != nil {
		return nil, fmt.Errorf("read label %s: %w: %w", buildLabel, errdefs.ErrInvalidArgument, err)
	}
	if len(metadata.Processes) > maxTypes {
		return nil, fmt.Errorf("read label %s: %w: more than %d processes", buildLabel, errdefs.ErrInvalidArgument, maxTypes)
	}
	b := &Buildpacks{Legacy: legacy(config.Env)}
	for _, p := range metadata.Processes {
		if !slices.Contains(b.Types, p.Type) {
			b.Types = append(b.Types, p.Type)
		}
	}
	return b, nil
}

// legacy says whether an image is of a platform interface before 0.4. The lifecycle writes the variable into every
// image since; one without it is older.
func legacy(env []string) bool {
	for _, pair := range env {
		if version, ok := strings.CutPrefix(pair, platformAPI+"="); ok {
			major, minor, _ := strings.Cut(version, ".")
			n, err := strconv.Atoi(minor)
			return major == "0" && err == nil && n < 4
		}
	}
	return true
}
