package lab

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// App builds test/apps/web, static, and returns the path of the program.
func App(ctx context.Context) (string, error) { return buildStatic(ctx, "web", "./test/apps/web") }

// AppSlug is a slug that holds App as ./web and a Procfile: `./web <mode>` is its command.
func AppSlug(ctx context.Context) (file, sum string, err error) {
	app, err := App(ctx)
	if err != nil {
		return "", "", err
	}
	return Slug(map[string]File{
		"web":      {From: app, Mode: 0o755},
		"Procfile": {Data: "web: ./web web\nworker: ./web worker\n"},
	})
}

// Generator builds test/apps/gen, static, and returns the path of the program.
func Generator(ctx context.Context) (string, error) {
	return buildStatic(ctx, "gen", "./test/apps/gen")
}

// Order builds test/apps/order, static, and returns the path of the program.
func Order(ctx context.Context) (string, error) {
	return buildStatic(ctx, "order", "./test/apps/order")
}

// GeneratorSlug is a slug that holds Generator as ./gen.
func GeneratorSlug(ctx context.Context) (file, sum string, err error) {
	gen, err := Generator(ctx)
	if err != nil {
		return "", "", err
	}
	return Slug(map[string]File{"gen": {From: gen, Mode: 0o755}})
}

// buildStatic leaves it to the go command to know whether anything has changed.
func buildStatic(ctx context.Context, name, pkg string) (string, error) {
	repo, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(repo, "build", "cache", name)
	partial := path + "." + rand.Text()
	defer os.Remove(partial)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", partial, pkg)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, os.Rename(partial, path)
}
