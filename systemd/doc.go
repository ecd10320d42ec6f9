// Package systemd is dynod's side of the service manager: readiness and status (sd_notify), the watchdog, and sockets
// that it opened for us. Without a service manager every call does nothing and says so by a nil error.
//
// It never starts units and never talks to D-Bus. The unit files lie beside it.
package systemd
