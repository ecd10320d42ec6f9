// Package systemd is dynod's side of the service manager: readiness, by sd_notify, and descriptors that it kept. Without
// a service manager every call does nothing and says so by a nil error.
//
// It never starts units and never talks to D-Bus. The unit files lie beside it.
package systemd
