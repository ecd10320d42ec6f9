package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image makes an OCI archive of the small stack with more files and a configuration of its own; the stack's PATH goes
// before its environment. The same things give the same archive, kept in build/cache.
func Image(ctx context.Context, files map[string]File, config v1.Config) (string, error) {
	all, err := smallFiles(ctx)
	if err != nil {
		return "", fmt.Errorf("make image: %w", err)
	}
	maps.Copy(all, files)
	config.Env = append([]string{"PATH=" + stackPath}, config.Env...)
	sum := sha256.New()
	if err := writeTar(sum, all); err != nil {
		return "", fmt.Errorf("make image: %w", err)
	}
	if err := json.NewEncoder(sum).Encode(config); err != nil {
		return "", fmt.Errorf("make image: %w", err)
	}
	name := "image-" + hex.EncodeToString(sum.Sum(nil))[:16] + ".tar"
	return Cached(name, func(path string) error {
		return writeImage(path, "image", config, func(w io.Writer) error { return writeTar(w, all) })
	})
}
