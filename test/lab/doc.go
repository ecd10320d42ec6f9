// Package lab gives tests and the demo a small host of their own on the machine they run on: a private
// directory, a private containerd, and two network namespaces, the host and its outside world. It also makes
// what such a host runs: stack images, slugs, and the programs in them.
//
// Everything a lab starts, mounts or makes carries the lab's name, so that an interrupted run is swept away by
// the next one of the same name. It never touches the machine's own interfaces, rules, routes or containerd.
package lab
