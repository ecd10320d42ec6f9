// Package runtime runs dynos: one container for each id, as a containerd task inside limits, namespaces and a user
// range of its own. It makes images and slugs present, mounts root filesystems, hands launch plans to dyno-init and
// says how dynos end.
//
// Everything is keyed by the dyno's id and found again from what lies on the host, so a Runtime of a new process
// goes on where an old one was. Every verb may be called again, by any goroutine. A dyno never ends because a
// Runtime does, and nothing here decides when one has to: the agent does. It knows nothing of networks but a
// namespace's path, and never touches a byte of output.
//
// Errors carry the classes of containerd's errdefs: NotFound, InvalidArgument, Unavailable and so on.
package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dynod/dynod/runtime/cache"
	"github.com/dynod/dynod/runtime/cgroup"
	"github.com/dynod/dynod/runtime/images"
	"github.com/dynod/dynod/runtime/rootfs"
	"github.com/dynod/dynod/runtime/slugs"
	"github.com/dynod/dynod/runtime/spec"
)

const (
	pingTimeout    = 2 * time.Second
	connectTimeout = 2 * pingTimeout  // who asks is to be told that nobody answers, not that the connection broke
	callTimeout    = 10 * time.Second // one call to containerd that only looks or notes
	createTimeout  = time.Minute      // the OCI runtime makes or starts a container
	deleteTimeout  = 30 * time.Second // everything of a dyno is removed
	fetchTimeout   = 15 * time.Minute // an artifact is made present, however many wait for it

	// How long making or removing a container takes at most, on a host that is well.
	createTurn, deleteTurn = 5 * time.Second, time.Second
)

// The values of Config.UserNamespace.
const (
	UserNamespaceRequired = "required" // a host that cannot give a dyno its own is refused
	UserNamespaceOff      = "off"      // dynos run as uid 1000 of the host
)

// Config is the settings of a Runtime. Paths are absolute.
type Config struct {
	Address   string // containerd's socket
	Namespace string // containerd's namespace, which must be ours alone; "dynod" if empty
	Dir       string // on disk: slugs, and what dynos write
	RunDir    string // on tmpfs: sockets and mount points; every directory above it must be searchable by all
	Init      string // the dyno-init binary

	OCIRuntime string // OCIRuntimeAuto if empty

	CgroupParent  string            // "/dynos.slice/dynos.service" if empty
	Stacks        map[string]string // image of each stack: a registry's reference or the path of an OCI archive
	UserNamespace string            // UserNamespaceRequired if empty
	FirstID       uint32            // host id of the first slot's id 0; each slot has 65536

	MaxSlugBytes         int64 // compressed; 500 MB if zero
	MaxSlugUnpackedBytes int64 // the files together; 4 GB if zero

	RegistryHostsDir    string   // a directory for each registry with containerd's hosts.toml; empty: none
	PlainHTTPRegistries []string // hosts, with port, that are spoken to without TLS
	AllowHTTP           bool     // fetch slugs by http:// too
	AllowFile           bool     // slugs by file:// and images by path too

	Stall time.Duration // how long a server may send nothing of an artifact; 30 s if zero
	Pause time.Duration // before the fetch of a slug that broke is continued for the first time; 250 ms if zero
}

func (c *Config) complete() error {
	c.Namespace = or(c.Namespace, "dynod")
	c.CgroupParent = or(c.CgroupParent, "/dynos.slice/dynos.service")
	c.OCIRuntime = or(c.OCIRuntime, OCIRuntimeAuto)
	c.UserNamespace = or(c.UserNamespace, UserNamespaceRequired)
	c.MaxSlugBytes = or(c.MaxSlugBytes, 500_000_000)
	c.Stall, c.Pause = or(c.Stall, 30*time.Second), or(c.Pause, 250*time.Millisecond)
	c.MaxSlugUnpackedBytes = or(c.MaxSlugUnpackedBytes, 4_000_000_000)
	for _, path := range []string{c.Address, c.Dir, c.RunDir, c.Init, c.CgroupParent} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("check runtime settings: %w: path %q is not absolute", errdefs.ErrInvalidArgument, path)
		}
	}
	switch {
	case !slices.Contains([]string{OCIRuntimeAuto, OCIRuntimeRunc, OCIRuntimeCrun}, c.OCIRuntime):
		return fmt.Errorf("check runtime settings: %w: OCI runtime %q", errdefs.ErrInvalidArgument, c.OCIRuntime)
	case c.UserNamespace != UserNamespaceRequired && c.UserNamespace != UserNamespaceOff:
		return fmt.Errorf("check runtime settings: %w: user namespace %q", errdefs.ErrInvalidArgument, c.UserNamespace)
	case c.mapped() && c.FirstID < spec.IDs:
		return fmt.Errorf("check runtime settings: %w: first id %d is among the host's own", errdefs.ErrInvalidArgument, c.FirstID)
	}
	return nil
}

func (c *Config) mapped() bool { return c.UserNamespace == UserNamespaceRequired }

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Runtime is the containers of one host.
type Runtime struct {
	config Config
	client *containerd.Client

	initLayer string // with dyno-init, on top of the layers of every dyno
	images    *images.Store
	slugs     *slugs.Store
	cache     *cache.Cache
	log       *slog.Logger

	life    context.Context // ends with Close
	end     context.CancelFunc
	fetches sync.WaitGroup
	fetched chan struct{} // has a token when an artifact has come since it was last looked

	options            *anypb.Any // of the shim
	shims              *shims
	creating, deleting turns
	created            created
	mappings           mappings

	diskQuota string
	cgroups   cgroup.Tree
	device    *device // that holds what dynos write; nil: none whose traffic can be limited

	mu        sync.Mutex
	flights   map[string]*flight
	prepared  map[string]images.Image // by dyno, from Prepare to Delete: a name may lead elsewhere meanwhile
	processes map[string]*process
	spares    map[int]*sandbox      // by slot
	bounds    map[uint32]*bound     // by project
	sessions  map[*session]struct{} // that run

	warned, unkept sync.Once
}

// New is ready when containerd may still be away: what needs it fails as Unavailable until it is back. It
// makes the directories, sweeps unfinished fetches and refuses a host on which a dyno cannot have its own user ids.
func New(ctx context.Context, config Config, log *slog.Logger) (*Runtime, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if err := prepareHost(config, log); err != nil {
		return nil, err
	}
	layer, err := installInit(config, log)
	if err != nil {
		return nil, err
	}
	diskQuota, err := FindDiskQuota(filepath.Join(config.Dir, "dynos"))
	if err != nil {
		return nil, err
	}
	disk, err := findDevice(filepath.Join(config.Dir, "dynos"))
	if err != nil {
		return nil, err
	}
	held, err := openCache(config)
	if err != nil {
		return nil, err
	}
	store, err := openSlugs(config, held, log)
	if err != nil {
		return nil, err
	}
	cgroups := cgroup.Host()
	options, err := shimOptions(config.OCIRuntime, cgroups.Unified, log)
	if err != nil {
		return nil, err
	}
	client, err := connect(config)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	return &Runtime{
		config: config, initLayer: layer, client: client, slugs: store, cache: held, log: log,
		images: images.New(client, images.Config{PlainHTTP: config.PlainHTTPRegistries, HostsDir: config.RegistryHostsDir, Stall: config.Stall}),
		life:   life, end: end, fetched: make(chan struct{}, 1),
		options: options, shims: newShims(config.shimSocket), creating: newTurns(creating(), createTurn), deleting: newTurns(deleting(), deleteTurn),
		flights: map[string]*flight{}, prepared: map[string]images.Image{}, processes: map[string]*process{}, spares: map[int]*sandbox{},
		bounds: map[uint32]*bound{}, mappings: mappings{bySlot: map[int]*os.File{}}, sessions: map[*session]struct{}{}, diskQuota: diskQuota, cgroups: cgroups, device: disk,
	}, nil
}

// connect tries again soon and for ever: a containerd that was restarted is to be found at once.
func connect(config Config) (*containerd.Client, error) {
	again := backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.2, MaxDelay: longestPause}
	client, err := containerd.New(config.Address,
		containerd.WithDefaultNamespace(config.Namespace),
		containerd.WithExtraDialOpts([]grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: connectTimeout}),
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("make containerd client: %w", err)
	}
	return client, nil
}

func prepareHost(config Config, log *slog.Logger) error {
	for dir, mode := range map[string]os.FileMode{config.RunDir: 0o711, filepath.Join(config.Dir, "dynos"): 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if !config.mapped() {
		log.Warn("dynos run without a user namespace of their own: a weaker wall around them")
		return nil
	}
	if err := rootfs.Probe(filepath.Join(config.Dir, "dynos")); err != nil {
		return fmt.Errorf("check user namespaces: %w: Linux 5.19 or later is needed, and a filesystem with id-mapped mounts below %s", err, config.Dir)
	}
	return nil
}

// Close ends fetches, hangs up what Exec has started, and lets go of containerd. Dynos go on.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.end() // no fetch begins any more
	r.mu.Unlock()
	r.fetches.Wait()
	r.closeSessions()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.processes {
		p.close()
		delete(r.processes, id)
	}
	r.slugs.Close()
	r.mappings.close()
	return r.client.Close()
}

// Ping says whether containerd answers, within two seconds.
func (r *Runtime) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if _, err := r.client.Version(ctx); err != nil {
		return fmt.Errorf("ask containerd for its version: %w", err)
	}
	return nil
}

var idForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// check keeps ids that would be paths out of paths.
func check(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("check dyno id %q: %w", id, errdefs.ErrInvalidArgument)
	}
	return nil
}
