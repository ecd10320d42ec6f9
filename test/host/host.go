package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"
)

// Options say what differs between hosts.
type Options struct {
	Image  Image
	Name   string // host name
	Dir    string // for its disk and console; the caller's to remove
	Memory int    // MiB
	Wire   *Wire  // nil: none
}

// Host is one machine. Those of its methods that switch it on or off are for one goroutine at a time.
type Host struct {
	Options
	machineID string
	port      int
	qemu      *exec.Cmd
	gone      chan struct{} // closed when qemu has ended

	mu        sync.Mutex
	link      *ssh.Client // nil while it is off
	listeners []*listener
}

// New makes a host that is off, with a fresh disk.
func New(o Options) (*Host, error) {
	h := &Host{Options: o, machineID: strings.ReplaceAll(uuid.NewString(), "-", "")}
	disk := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", o.Image.file("disk"), h.path("disk"))
	if out, err := disk.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make disk: %w: %s", err, out)
	}
	return h, nil
}

func (h *Host) path(name string) string { return filepath.Join(h.Dir, h.Name+"."+name) }

const (
	// bootLimit is for one boot: emulated timers stand still now and then, and the kernel waits for them for ever.
	bootLimit = 5 * time.Minute
	bootTries = 3
)

// PowerOn boots the host and waits until it lets somebody in. A boot that hangs is cut, and another one tried.
func (h *Host) PowerOn(ctx context.Context) (err error) {
	for range bootTries {
		if err = h.boot(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (h *Host) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if err := h.launch(); err != nil {
		return fmt.Errorf("power on: %w", err)
	}
	l, err := h.connect(ctx)
	if err != nil {
		h.PowerCut()
		return fmt.Errorf("power on: %w; its console ends:\n%s", err, h.Console())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.link = l
	for _, listener := range h.listeners {
		err = errors.Join(err, listener.attach(l))
	}
	return err
}

func (h *Host) launch() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	h.port = port
	h.qemu = exec.Command("qemu-system-x86_64", h.arguments()...)
	h.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.OpenFile(h.path("qemu"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer said.Close()
	h.qemu.Stdout, h.qemu.Stderr = said, said
	if err := h.qemu.Start(); err != nil {
		return err
	}
	gone, qemu := make(chan struct{}), h.qemu
	h.gone = gone
	go func() { _ = qemu.Wait(); close(gone) }()
	return nil
}

// arguments are those of a machine like an instance in the cloud: an NVMe disk and a network card. Trixie's kernel does
// not get along with five levels of page tables here, nor with a thread for each processor: one then ran code that the other had
// replaced, and the kernel panicked.
func (h *Host) arguments() []string {
	kernel := "console=ttyS0 root=/dev/nvme0n1 rw quiet panic=-1 systemd.hostname=" + h.Name + " systemd.machine_id=" + h.machineID
	args := []string{
		"-accel", "tcg,thread=single", "-cpu", "max,la57=off", "-smp", "2", "-m", fmt.Sprint(h.Memory),
		"-display", "none", "-monitor", "none", "-serial", "file:" + h.path("console"), "-no-reboot",
		"-kernel", h.Image.file("vmlinuz"), "-append", kernel,
		"-drive", "file=" + h.path("disk") + ",if=none,id=disk,format=qcow2,cache=unsafe", "-device", "nvme,serial=disk,drive=disk",
		"-nic", fmt.Sprintf("user,restrict=on,model=virtio-net-pci,mac=52:54:00:00:00:01,hostfwd=tcp:127.0.0.1:%d-:22", h.port),
	}
	if h.Wire != nil {
		args = append(args, h.Wire.arguments()...)
	}
	return args
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// PowerCut switches the host off in the middle of whatever it does. What it had written to its disk stays; what was in its
// memory is gone.
func (h *Host) PowerCut() {
	if h.qemu == nil {
		return
	}
	_ = h.qemu.Process.Kill() // no error but that it has ended
	<-h.gone
	h.qemu = nil
	h.unplug()
}

// Reboot has the host shut down in an orderly way and boots it again.
func (h *Host) Reboot(ctx context.Context) error {
	_, _ = h.Run(ctx, "systemctl reboot") // the connection may end before the answer
	select {
	case <-h.gone:
	case <-ctx.Done():
		return fmt.Errorf("reboot: %w; its console ends:\n%s", ctx.Err(), h.Console())
	}
	h.qemu = nil
	h.unplug()
	return h.PowerOn(ctx)
}

// unplug forgets the connection of a host that is off.
func (h *Host) unplug() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link != nil {
		_ = h.link.Close() // it has ended with the host
	}
	h.link = nil
}

// Close switches the host off for good.
func (h *Host) Close() {
	h.mu.Lock()
	for _, l := range h.listeners {
		_ = l.Close()
	}
	h.mu.Unlock()
	h.PowerCut()
}

// Console is the end of what the kernel and systemd have said on the serial line.
func (h *Host) Console() string {
	said, err := os.ReadFile(h.path("console"))
	if err != nil {
		return err.Error()
	}
	return string(said[max(0, len(said)-4000):])
}

// pause is how long to wait before something is asked again.
const pause = 200 * time.Millisecond
