package config

const (
	mib = 1 << 20
	gib = 1 << 30

	oneShare   = 100   // CPU weight of the smallest dyno, on cgroup v2's scale
	wholeShare = 10000 // the kernel's largest weight: shared dynos beside it get what it leaves

	sharedFiles = 10_000  // open files of a shared size
	largeFiles  = 1 << 20 // the kernel's default ceiling of RLIMIT_NOFILE

	r15Percent = 200

	sharedDisk = 4 * gib // of a shared size
	largeDisk  = 16 * gib
)

// defaultSizes is the table of sizes that app owners know by name.
func defaultSizes() map[string]Size {
	shared := Size{Memory: 512 * mib, Swap: true, R15Percent: r15Percent, CPUWeight: oneShare, Pids: 256, NoFile: sharedFiles, Disk: sharedDisk}
	private := Size{Memory: 1024 * mib, R15Percent: r15Percent, CPUWeight: wholeShare, Pids: 512, NoFile: largeFiles, Disk: largeDisk}
	return map[string]Size{
		"eco":               shared,
		"basic":             shared,
		"standard-1x":       shared,
		"standard-2x":       {Memory: 1024 * mib, Swap: true, R15Percent: r15Percent, CPUWeight: 2 * oneShare, Pids: 512, NoFile: sharedFiles, Disk: sharedDisk},
		"private-s":         private,
		"shield-s":          private,
		"private-m":         {Memory: 2560 * mib, R15Percent: r15Percent, CPUWeight: wholeShare, Pids: 16384, NoFile: largeFiles, Disk: largeDisk},
		"performance-m":     performance(2560, 16384),
		"performance-l":     performance(14336, 32768),
		"performance-l-ram": performance(30720, 24576),
		"performance-xl":    performance(63488, 32768),
		"performance-2xl":   performance(129024, 65536),
	}
}

func performance(memoryMiB, pids int64) Size {
	return Size{Memory: memoryMiB * mib, Swap: true, R15Percent: r15Percent, CPUWeight: wholeShare, Pids: pids, NoFile: largeFiles, Disk: largeDisk}
}

// newSize is what a size starts from that the table above does not know; its memory has to be given.
func newSize() Size {
	return Size{R15Percent: r15Percent, CPUWeight: oneShare, Pids: 256, NoFile: sharedFiles, Disk: sharedDisk}
}
