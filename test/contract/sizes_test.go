package contract_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

const mib = 1 << 20

// size is a row of the page's table of sizes.
type size struct {
	name   string
	memory int64 // MiB
	weight int   // cgroup v2's scale
	pids   uint64
	files  uint64
}

// weights are the page's words for a weight.
var weights = map[int]string{100: "one share of", 200: "two shares of", 10000: "the whole of"}

func sizes() []sentence {
	table := []size{
		{"eco", 512, 100, 256, 10000},
		{"basic", 512, 100, 256, 10000},
		{"standard-1x", 512, 100, 256, 10000},
		{"standard-2x", 1024, 200, 512, 10000},
		{"private-s", 1024, 10000, 512, 1 << 20},
		{"shield-s", 1024, 10000, 512, 1 << 20},
		{"private-m", 2560, 10000, 16384, 1 << 20},
		{"performance-m", 2560, 10000, 16384, 1 << 20},
		{"performance-l", 14336, 10000, 32768, 1 << 20},
		{"performance-l-ram", 30720, 10000, 24576, 1 << 20},
		{"performance-xl", 63488, 10000, 32768, 1 << 20},
		{"performance-2xl", 129024, 10000, 65536, 1 << 20},
	}
	var all []sentence
	for n, z := range table {
		text := fmt.Sprintf("`%s`: %d MiB of memory, %s the CPU, %d processes and threads, %d open files.", z.name, z.memory, weights[z.weight], z.pids, z.files)
		all = append(all, sentence{fmt.Sprintf("S%d", n+1), text, func(s *stage) error { return s.another("sizes", "").size(z) }})
	}
	return append(all, sizeRules()...)
}

func sizeRules() []sentence {
	return []sentence{
		{"S13", "An order that names no size gets `standard-1x`.", func(s *stage) error {
			l := s.inside()
			return errors.Join(l.holds("memory", "536870912"), unless(l.dyno.GetSize() == "standard-1x", "its size is %q", l.dyno.GetSize()))
		}},
		{"S14", "A size that the host does not know is refused.", func(s *stage) error {
			return s.refused(s.order("run.1", "true", func(o *dynodv1.StartDynoRequest) { o.Spec.Size = "huge" }), codes.InvalidArgument)
		}},
		{"S15", "A dyno for which the host has no memory left is refused, and nothing of it happens.", func(s *stage) error {
			return s.refused(s.order("run.1", "true", memoryOf(1<<50)), codes.ResourceExhausted)
		}},
		{"S16", "The quota reads in bytes at `/sys/fs/cgroup/memory/memory.limit_in_bytes`, on a host of either cgroup version.", func(s *stage) error {
			return s.limited().holds("memory", "100663296")
		}},
		{"S17", "An order's own memory, processes, open files and CPU weight win over its size's.", func(s *stage) error {
			l := s.limited()
			return errors.Join(l.holds("memory", "100663296", "pids", "100", "files", "500"), l.onHost("pids", "100"), l.onHost("weight", "150"))
		}},
		{"S18", "A dyno may use all CPU time that is idle, unless its order sets a ceiling.", func(s *stage) error { return s.inside().onHost("ceiling", "none") }},
		{"S19", "A ceiling holds although CPU time is idle.", func(s *stage) error { return s.limited().throttled() }},
		{"S20", "A dyno at its limit of processes and threads is refused more of them, and lives.", func(s *stage) error {
			const many = "sh -c 'n=0; while [ $n -lt 300 ]; do sleep 3 & n=$((n+1)); done' || echo refused; sleep 4; echo after"
			return s.run(many, limits(&dynodv1.Limits{Pids: 40})).stdout("refused", "after")
		}},
		{"S21", "No process leaves a core file: the core size is 0.", func(s *stage) error { return s.inside().holds("core", "0") }},
	}
}

// refused checks that an order is refused with that code, and leaves no dyno.
func (s *stage) refused(o *dynodv1.StartDynoRequest, want codes.Code) error {
	id, err := s.start(o)
	if wrong := unless(status.Code(err) == want, "the order's answer is %v, want %v", err, want); wrong != nil {
		return wrong
	}
	_, err = s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
	return unless(status.Code(err) == codes.NotFound, "the refused dyno exists: %v", err)
}

func limits(l *dynodv1.Limits) rig.Change {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.Limits = l }
}

func memoryOf(bytes int64) rig.Change { return limits(&dynodv1.Limits{MemoryBytes: bytes}) }

// tell writes what a dyno sees of its limits.
const tell = `echo memory=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes); echo pids=$(ulimit -u); echo files=$(ulimit -n); echo core=$(ulimit -c)
`

// limited is a dyno with limits of its own and a ceiling of a fifth of a CPU, which it wants to exceed.
func (s *stage) limited() life {
	return scene(s, "limited", func() life {
		own := limits(&dynodv1.Limits{MemoryBytes: 96 * mib, Pids: 100, OpenFiles: 500, CpuWeight: 150, CpuCeilingMilli: 200})
		return s.held(s.order("run.1", tell+"TIMEFORMAT=used=%U; { time timeout 3 sh -c 'while :; do :; done'; } 2>&1; "+hold, own, rig.OneOff))
	})
}

// throttled checks that the 3 s of work got no more than their fifth of a CPU.
func (l life) throttled() error {
	used, err := strconv.ParseFloat(l.values()["used"], 64)
	held, err2 := strconv.Atoi(l.seen.group["throttled"]) // on a busy host it would not get more anyway
	return errors.Join(l.err, err, err2, unless(used > 0 && used < 1 && held > 0, "it used %g s of CPU time in 3 s, and was held %d times", used, held))
}

// one at a time: the largest takes most of a host.
var oneSize sync.Mutex

// size runs a dyno of a size and looks at it from inside and outside. One that is larger than this host must be
// refused for just its memory, and everything else of it is looked at with less.
func (s *stage) size(z size) error {
	oneSize.Lock()
	defer oneSize.Unlock()
	memory := z.memory * mib
	change := func(o *dynodv1.StartDynoRequest) { o.Spec.Size = z.name }
	o := s.order("run.1", tell+hold, change, rig.OneOff)
	host, err := s.API().GetHost(s.ctx, &dynodv1.GetHostRequest{})
	if err != nil {
		return err
	}
	if memory > host.GetHost().GetCapacity().GetMemoryBytes() {
		want := fmt.Sprintf("memory: %d bytes asked for", memory)
		_, err := s.start(o)
		refused := status.Code(err) == codes.ResourceExhausted && contains(err.Error(), want)
		if wrong := unless(refused, "the order's answer is %v, want %q", err, want); wrong != nil {
			return wrong
		}
		memory = 64 * mib
		memoryOf(memory)(o)
	}
	l := s.held(o)
	return errors.Join(
		l.holds("memory", fmt.Sprint(memory), "pids", fmt.Sprint(allowed(unix.RLIMIT_NPROC, z.pids)), "files", fmt.Sprint(allowed(unix.RLIMIT_NOFILE, z.files))),
		l.onHost("memory", fmt.Sprint(memory)), l.onHost("pids", fmt.Sprint(z.pids)), l.onHost("weight", fmt.Sprint(z.weight)),
	)
}

// allowed is a limit, or the hard limit of this machine's processes where it is lower: only CAP_SYS_RESOURCE raises it.
func allowed(resource int, wanted uint64) uint64 {
	var own unix.Rlimit
	if err := unix.Getrlimit(resource, &own); err != nil {
		return wanted
	}
	return min(wanted, own.Max)
}
