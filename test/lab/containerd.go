package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
)

// containerdStart is how long a private containerd may take until it answers.
const containerdStart = 30 * time.Second

// containerdConfig keeps everything below the lab and leaves out what the agent never uses. Daemons of every
// version from 1.6 on read it; plugins that one does not have may be named.
var containerdConfig = template.Must(template.New("config.toml").Parse(`version = 2
root = "{{.Root}}"
state = "{{.State}}"
oom_score = 0
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[debug]
  level = "warn"
[grpc]
  address = "{{.Address}}"
[timeouts]
  "io.containerd.timeout.shim.load" = "1m"
[plugins."io.containerd.internal.v1.opt"]
  path = "{{.Opt}}"
`))

// daemon is a containerd that runs.
type daemon struct {
	address string
	pid     int
	done    chan struct{} // closed once the process is reaped
}

// Containerd starts the lab's containerd on the first call and returns its address. It fails when containerd does
// not answer within 30 s, with the end of its log.
func (l *Lab) Containerd(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.containerd != nil {
		return l.containerd.address, nil
	}
	d, err := l.startContainerd()
	if err != nil {
		return "", fmt.Errorf("start containerd: %w", err)
	}
	l.containerd = d
	if err := d.ready(ctx); err != nil {
		return "", fmt.Errorf("wait for containerd: %w\n%s", err, l.containerdTail())
	}
	return d.address, nil
}

// ContainerdPID is the process number of the lab's containerd, 0 before Containerd. A test may stop or kill it.
func (l *Lab) ContainerdPID() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.containerd == nil {
		return 0
	}
	return l.containerd.pid
}

// RestartContainerd kills the lab's containerd and starts it again at the same address; its containers live on.
func (l *Lab) RestartContainerd(ctx context.Context) error {
	if pid := l.ContainerdPID(); pid != 0 {
		l.mu.Lock()
		old := l.containerd
		l.containerd = nil
		l.mu.Unlock()
		if err := l.mark().kill(pid); err != nil {
			return err
		}
		<-old.done
	}
	_, err := l.Containerd(ctx)
	return err
}

func (l *Lab) containerdState() string { return filepath.Join(l.Run(), "containerd") }

func (l *Lab) startContainerd() (*daemon, error) {
	config, err := l.writeContainerdConfig()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(l.dir, "containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("containerd", "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), envMark+"="+l.dir)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (make deps installs what the lab needs)", err)
	}
	d := &daemon{address: l.containerdAddress(), pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		_ = cmd.Wait() // ended by us, or seen by whoever calls it next
	}()
	return d, nil
}

func (l *Lab) containerdAddress() string { return filepath.Join(l.Run(), "containerd.sock") }

func (l *Lab) writeContainerdConfig() (string, error) {
	var text bytes.Buffer
	err := containerdConfig.Execute(&text, map[string]string{
		"Root":    filepath.Join(l.dir, "containerd"),
		"State":   l.containerdState(),
		"Address": l.containerdAddress(),
		"Opt":     filepath.Join(l.dir, "opt"),
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.dir, "containerd.toml")
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

// ready asks for the version until it is answered.
func (d *daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, containerdStart)
	defer cancel()
	for {
		err := askVersion(ctx, d.address)
		if err == nil {
			return nil
		}
		select {
		case <-d.done:
			return errors.New("it has ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pollEvery):
		}
	}
}

func askVersion(ctx context.Context, address string) error {
	if _, err := os.Stat(address); err != nil {
		return err // a client would wait for seconds before its next try
	}
	client, err := containerd.New(address, containerd.WithTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Version(ctx)
	return err
}

// containerdTail is the end of containerd's log, for the message of a failure.
func (l *Lab) containerdTail() string {
	data, err := os.ReadFile(filepath.Join(l.dir, "containerd.log"))
	if err != nil || len(data) == 0 {
		return "containerd logged nothing"
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "containerd: " + strings.Join(lines[max(0, len(lines)-20):], "\ncontainerd: ")
}

// removeShimFiles removes what a shim keeps outside containerd's own directories, in /run/containerd, and leaves
// there when it is killed: its socket, which it names in its bundle, and runc's record of the container.
func removeShimFiles(state string) {
	bundles, _ := filepath.Glob(filepath.Join(state, "io.containerd.runtime.v2.task", "*", "*"))
	for _, bundle := range bundles {
		if socket, ok := strings.CutPrefix(shimAddress(bundle), "unix://"); ok {
			_ = os.Remove(socket)
			_ = os.Remove(socket + ".dynod") // the agent's second name of it
		}
		id, namespace := filepath.Base(bundle), filepath.Base(filepath.Dir(bundle))
		_ = os.RemoveAll(filepath.Join("/run/containerd/runc", namespace, id))
	}
}

// ShimSocket is the path of the socket of the shim that a container has.
func (l *Lab) ShimSocket(container string) string {
	bundle := filepath.Join(l.containerdState(), "io.containerd.runtime.v2.task", l.Namespace(), container)
	return strings.TrimPrefix(shimAddress(bundle), "unix://")
}

// shimAddress reads it where containerd before 1.7 writes it, or where later ones do.
func shimAddress(bundle string) string {
	if data, err := os.ReadFile(filepath.Join(bundle, "address")); err == nil {
		return string(data)
	}
	var shim struct{ Address string }
	data, _ := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	_ = json.Unmarshal(data, &shim) // nothing known is nothing to remove
	return shim.Address
}
