// Package transport is what lies under every connection of dynod: TLS with certificates that may change while it runs,
// unix sockets that know their peer, and the limits and timeouts that both ends must agree on. It never looks into a
// message, and it imports nothing of ours, so that a client does not carry the daemon with it.
package transport
