// Package upstream is a control plane that takes log lines and believes nothing. Its Ledger holds every line against
// the ones before it and, for streams of a known seed, every byte against what it must be. Its Server is reached over
// mutual TLS as a real one, and misbehaves on demand. It sends no orders and keeps no line.
package upstream
