package lab

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ThirdParty is a server that others wrote, packed as their project or Debian ships it: nothing of it is changed.
type ThirdParty struct {
	Name    string
	Command string            // serves HTTP on $PORT, from /app
	Env     map[string]string // that a buildpack would set: by .profile.d in a slug, by the configuration of an image
	Page    string            // path to ask for
	Says    string            // what stands in the answer

	files func(context.Context) (map[string]File, error) // below /app
}

// ThirdParties are a Node.js, a Python and a compiled one. All run on AppStack.
func ThirdParties() []ThirdParty {
	const page = "A page of an unmodified app"
	return []ThirdParty{
		{
			Name: "node", Command: "http-server public -p $PORT", Page: "/", Says: page, files: httpServer(page),
			Env: map[string]string{"PATH": "/app/node_modules/.bin:" + stackPath},
		},
		{
			Name: "python", Command: radicaleCommand, Page: "/.web/", Says: "Radicale", files: radicale,
			Env: map[string]string{"PYTHONPATH": "/app/" + radicaleDir},
		},
		{
			Name: "compiled", Command: "usr/bin/webfsd -F -p $PORT -r /app/public -f index.html", Page: "/", Says: page, files: webfs(page),
		},
	}
}

// AppStack is a Debian stack with the runtimes and libraries that ThirdParties need.
func AppStack(ctx context.Context) (string, error) {
	return DebianStack(ctx, "apps", append([]string{"nodejs", "libgnutls30"}, pythonPackages...)...)
}

// Slug packs it for AppStack.
func (p ThirdParty) Slug(ctx context.Context) (file, sum string, err error) {
	files, err := p.files(ctx)
	if err != nil {
		return "", "", fmt.Errorf("pack %s: %w", p.Name, err)
	}
	var profile strings.Builder
	for name, value := range p.Env {
		fmt.Fprintf(&profile, "export %s=%s\n", name, value)
	}
	files[".profile.d/app.sh"] = File{Data: profile.String()}
	files["Procfile"] = File{Data: "web: " + p.Command + "\n"}
	return Slug(files)
}

// httpServer is npm's package of that name with all that it depends on, and a page.
func httpServer(page string) func(context.Context) (map[string]File, error) {
	return func(ctx context.Context) (map[string]File, error) {
		const pkg = "http-server@14.1.1"
		dir, err := Cached("npm-"+pkg, func(path string) error { return installNPM(ctx, path, pkg) })
		if err != nil {
			return nil, err
		}
		return withPage(dir, page)
	}
}

// installNPM puts a package and what it depends on into dir, without running any of its scripts.
func installNPM(ctx context.Context, dir, pkg string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// webfs is Debian's package of a small web server in C, and a page.
func webfs(page string) func(context.Context) (map[string]File, error) {
	return func(ctx context.Context) (map[string]File, error) {
		dir, err := Cached("webfs", func(path string) error { return unpackPackage(ctx, path, "webfs") })
		if err != nil {
			return nil, err
		}
		return withPage(dir, page)
	}
}

func withPage(dir, page string) (map[string]File, error) {
	files, err := filesBelow(dir, ".")
	if err != nil {
		return nil, err
	}
	maps.Copy(files, map[string]File{"public/index.html": {Data: "<html><body>" + page + "</body></html>\n"}})
	return files, nil
}

// filesBelow are the files and links of a part of dir, by their names in dir.
func filesBelow(dir, part string) (map[string]File, error) {
	files := map[string]File{}
	err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[name], err = fileAt(path, d)
		return err
	})
	return files, err
}

func fileAt(path string, d fs.DirEntry) (File, error) {
	if d.Type()&fs.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		return File{Link: to}, err
	}
	info, err := d.Info()
	if err != nil {
		return File{}, err
	}
	return File{From: path, Mode: info.Mode().Perm()}, nil
}
