package main

import "runtime/debug"

// version is set by the linker: -X main.version=v1.2.3.
var version string

// buildVersion is the linker's word, or else what the Go command knows of the module.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
