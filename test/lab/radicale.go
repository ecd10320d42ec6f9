package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// radicaleCommand serves Radicale, a calendar server with a web page at /.web/, on $PORT.
const radicaleCommand = `python3 -m radicale --server-hosts 0.0.0.0:$PORT --auth-type none --storage-filesystem-folder /tmp/collections`

// radicaleDir is where the package keeps the program, in the machine as below /app.
const radicaleDir = "usr/lib/python3/dist-packages"

// pythonPackages are Python and the libraries that Radicale needs.
var pythonPackages = []string{
	"python3", "python3-dateutil", "python3-defusedxml", "python3-passlib", "python3-pkg-resources", "python3-vobject",
}

// radicale is the program's own files.
func radicale(ctx context.Context) (map[string]File, error) {
	dir, err := Cached("radicale", func(path string) error { return unpackPackage(ctx, path, "python3-radicale") })
	if err != nil {
		return nil, err
	}
	return filesBelow(dir, radicaleDir)
}

// unpackPackage downloads a Debian package and unpacks its files to dir, without installing anything.
func unpackPackage(ctx context.Context, dir, name string) error {
	tmp, err := os.MkdirTemp("", "dynod-package-")
	if err != nil {
		return fmt.Errorf("unpack package: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := download(ctx, tmp, name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: got %v, error %w", name, debs, err)
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], dir).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w\n%s", name, err, out)
	}
	return nil
}

// download puts a package's file into dir. apt may have no lists of packages yet, or old ones.
func download(ctx context.Context, dir, name string) error {
	get := func() ([]byte, error) {
		cmd := exec.CommandContext(ctx, "apt-get", "-o", "APT::Sandbox::User=root", "download", name)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if _, err := get(); err == nil {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "apt-get", "update").CombinedOutput(); err != nil {
		return fmt.Errorf("update lists of packages: %w\n%s", err, out)
	}
	if out, err := get(); err != nil {
		return fmt.Errorf("download %s: %w\n%s", name, err, out)
	}
	return nil
}
