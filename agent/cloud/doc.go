// Package cloud tells what the provider of this host says of it: which instance it is, and notices of what will happen
// to it. The one provider is EC2, asked by its instance metadata service, version 2 only, at the address that every
// instance has for it. It reads a fixed list of paths, none of which holds credentials, and never decides what a notice
// means for dynos.
//
// Requests go by the host's own network namespace and must not be relayed, so the hop limit of 1 that instances come
// with is enough.
package cloud
