package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Group is the control group of a process, from the root of the hierarchy that counts its memory: a dyno's has not always its
// name.
func Group(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("find control group: %w", err)
	}
	unified := ""
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) == 3 && parts[1] == "memory":
			return parts[2], nil
		case len(parts) == 3 && parts[1] == "":
			unified = parts[2]
		}
	}
	if unified == "" {
		return "", fmt.Errorf("find control group of process %d: %w", pid, errors.ErrUnsupported)
	}
	return unified, nil
}
