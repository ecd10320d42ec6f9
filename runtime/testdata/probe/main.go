// Command probe tries system calls that a dyno must not make, and some that it may, and prints what the kernel
// answered. With two arguments it renames one to the other instead.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) == 3 {
		if err := os.Rename(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	for name, number := range map[string]uintptr{
		"add_key": unix.SYS_ADD_KEY, "request_key": unix.SYS_REQUEST_KEY, "keyctl": unix.SYS_KEYCTL,
		"bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN, "userfaultfd": unix.SYS_USERFAULTFD,
		"io_uring_setup": unix.SYS_IO_URING_SETUP, "io_uring_enter": unix.SYS_IO_URING_ENTER,
		"unshare": unix.SYS_UNSHARE, "setns": unix.SYS_SETNS, "mount": unix.SYS_MOUNT, "umount2": unix.SYS_UMOUNT2,
		"open_tree": unix.SYS_OPEN_TREE, "fsopen": unix.SYS_FSOPEN, "pivot_root": unix.SYS_PIVOT_ROOT,
		"chroot": unix.SYS_CHROOT, "kexec_load": unix.SYS_KEXEC_LOAD, "init_module": unix.SYS_INIT_MODULE,
		"reboot": unix.SYS_REBOOT, "swapon": unix.SYS_SWAPON, "clone3": unix.SYS_CLONE3,
	} {
		_, _, err := unix.Syscall6(number, 0, 0, 0, 0, 0, 0)
		print(name, err)
	}
	for name, family := range map[string]int{
		"unix": unix.AF_UNIX, "inet": unix.AF_INET, "inet6": unix.AF_INET6, "netlink": unix.AF_NETLINK,
		"vsock": unix.AF_VSOCK, "alg": unix.AF_ALG, "packet": unix.AF_PACKET, "can": unix.AF_CAN, "tipc": unix.AF_TIPC,
	} {
		_, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
		if err == nil {
			err = unix.Errno(0)
		}
		print("socket-"+name, err.(unix.Errno))
		_, err = unix.Socketpair(family, unix.SOCK_DGRAM, 0)
		if err == nil {
			err = unix.Errno(0)
		}
		print("socketpair-"+name, err.(unix.Errno))
	}
	cmd := exec.Command(os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if err := cmd.Start(); err != nil && strings.Contains(err.Error(), "not permitted") {
		print("clone-newuser", unix.EPERM)
	} else {
		fmt.Println("clone-newuser", err)
	}
}

func print(name string, err unix.Errno) {
	answer := "ok"
	if err != 0 {
		answer = unix.ErrnoName(err)
	}
	fmt.Println(name, answer)
}
