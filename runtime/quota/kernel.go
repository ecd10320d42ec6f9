package quota

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and structures of quotactl_fd(2) and of FS_IOC_FSSETXATTR, from linux/quota.h, linux/dqblk_xfs.h and
// linux/fs.h. The commands of the first family work on XFS too.
const (
	getQuota = 0x800007 // Q_GETQUOTA
	setQuota = 0x800008 // Q_SETQUOTA
	getState = 'X'<<8 + 8

	projects  = 2    // PRJQUOTA: what is counted, in the low byte of a command
	blockSize = 1024 // QIF_DQBLKSIZE

	countsProjects = 1 << 4 // FS_QUOTA_PDQ_ACCT
	boundsProjects = 1 << 5 // FS_QUOTA_PDQ_ENFD

	getXattr = 0x801c581f // FS_IOC_FSGETXATTR
	setXattr = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit  = 0x200      // FS_XFLAG_PROJINHERIT
)

// quotaBlock is struct if_dqblk.
type quotaBlock struct {
	hardBlocks, softBlocks, space  uint64
	hardInodes, softInodes, inodes uint64
	blockTime, inodeTime           uint64
	valid                          uint32
	_                              uint32
}

// validLimits are QIF_BLIMITS and QIF_ILIMITS.
const validLimits = 1 | 4

// quotaState is struct fs_quota_statv.
type quotaState struct {
	version uint8
	_       uint8
	flags   uint16
	_       [19]uint64
}

// fileAttributes is struct fsxattr.
type fileAttributes struct {
	flags, extentSize, extents, project, copyExtentSize uint32
	_                                                   [8]byte
}

func enforced(f *os.File) (bool, error) {
	state := quotaState{version: 1}
	if err := quotactl(f, getState, 0, unsafe.Pointer(&state)); err != nil {
		return false, err
	}
	const both = countsProjects | boundsProjects
	return state.flags&both == both, nil
}

func bound(f *os.File, project uint32, l Limit) error {
	b := quotaBlock{hardBlocks: uint64(l.Bytes+blockSize-1) / blockSize, hardInodes: uint64(l.Files), valid: validLimits}
	return quotactl(f, setQuota, project, unsafe.Pointer(&b))
}

func block(f *os.File, project uint32) (b quotaBlock, err error) {
	err = quotactl(f, getQuota, project, unsafe.Pointer(&b))
	return b, err
}

// quotactl names the filesystem by a directory of it, so needs no path of a device. Since Linux 5.14.
func quotactl(f *os.File, command, project uint32, data unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(command<<8|projects), uintptr(project), uintptr(data), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("quotactl_fd", errno)
	}
	return nil
}

func attributes(f *os.File) (a fileAttributes, err error) {
	err = ioctl(f, getXattr, unsafe.Pointer(&a))
	return a, err
}

func setAttributes(f *os.File, a fileAttributes) error { return ioctl(f, setXattr, unsafe.Pointer(&a)) }

func ioctl(f *os.File, request uintptr, data unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(data)); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
