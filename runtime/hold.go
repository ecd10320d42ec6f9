package runtime

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dynod/dynod/runtime/cache"
	"github.com/dynod/dynod/runtime/slugs"
	"github.com/dynod/dynod/runtime/spec"
)

// hold is what a dyno's root filesystem is made of: removed, it would break. It lies beside the dyno's mounts and so is
// gone when they are, with the host's going down at the latest.
type hold struct {
	Image string `json:"image"` // name in containerd
	Chain string `json:"chain"` // its layers, which the name may lead away from one day
	Slug  string `json:"slug,omitempty"`
}

// The keys of the cache.
func imageKey(name string) string  { return "image " + name }
func chainKey(chain string) string { return "layers " + chain }
func slugKey(sum string) string    { return "slug " + sum }

func (h hold) keys() []string {
	keys := []string{imageKey(h.Image), chainKey(h.Chain)}
	if h.Slug != "" {
		keys = append(keys, slugKey(h.Slug))
	}
	return keys
}

// keys are what is held before anything of it needs to be here.
func (n needs) keys() []string {
	keys := []string{imageKey(n.name)}
	if n.slug.SHA256 != "" {
		keys = append(keys, slugKey(n.slug.SHA256))
	}
	return keys
}

func (p place) hold() string { return filepath.Join(p.run, "artifact.json") }

// note writes down what the dyno holds, before anything of it is mounted.
func (p place) note(h hold) error {
	data, err := json.Marshal(h)
	if err == nil {
		err = os.WriteFile(p.hold(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note artifact: %w", err)
	}
	return nil
}

// openCache takes the holds of the dynos that are there. One whose hold cannot be read may use anything, and holds
// everything until it is deleted.
func openCache(config Config) (*cache.Cache, error) {
	c, err := cache.Open(filepath.Join(config.Dir, "used"))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(config.RunDir)
	if err != nil {
		return nil, fmt.Errorf("list dynos: %w", err)
	}
	for _, e := range entries {
		if check(e.Name()) != nil {
			continue
		}
		var h hold
		data, err := os.ReadFile(place{run: filepath.Join(config.RunDir, e.Name())}.hold())
		if err != nil || json.Unmarshal(data, &h) != nil || h.Image == "" {
			c.HoldAll(e.Name())
			continue
		}
		c.Hold(e.Name(), h.keys()...)
	}
	return c, nil
}

func openSlugs(config Config, held *cache.Cache, log *slog.Logger) (*slugs.Store, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("tell this boot from others: %w", err)
	}
	return slugs.Open(slugs.Config{
		Dir: filepath.Join(config.Dir, "slugs"), Owner: spec.UID, Boot: strings.TrimSpace(string(boot)),
		MaxBytes: config.MaxSlugBytes, MaxUnpackedBytes: config.MaxSlugUnpackedBytes,
		AllowHTTP: config.AllowHTTP, AllowFile: config.AllowFile, Stall: config.Stall, Pause: config.Pause,
	}, func(sum string) bool { return len(held.Holders(slugKey(sum))) > 0 }, log)
}
