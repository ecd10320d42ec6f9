// Package host is real hosts for tests: Debian machines under qemu with systemd as process 1 and cgroup v2, as an instance
// in the cloud has them. It makes their disks, switches them on and off, runs commands in them, and lets the test's own
// process listen and connect there. They are emulated, without KVM: everything is about ten times slower than on the machine.
//
// What a host sends stays in qemu: its network ends at this process and at other hosts on the same wire. No packet of it leaves by
// the machine's own interfaces.
package host
