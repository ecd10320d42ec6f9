package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// defaultPath is searched when the plan's environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// find looks the command up in the plan's PATH, as a shell would: a file that may not be run is passed over, and
// told only when there is no other.
func find(plan launch.Plan) (string, error) {
	name := plan.Args[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	found := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(searchPath(plan.Env)) {
		candidate := filepath.Join(plan.Dir, name)
		if filepath.IsAbs(dir) {
			candidate = filepath.Join(dir, name)
		}
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if errors.Is(err, unix.EACCES) {
			found = err
		}
	}
	return "", found
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.EACCES
	}
	return unix.Access(path, unix.X_OK)
}

func searchPath(env []string) string {
	for _, v := range env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok && path != "" {
			return path
		}
	}
	return defaultPath
}
