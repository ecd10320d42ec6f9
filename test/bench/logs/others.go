package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// image is a root directory with the generator alone.
func (b *bench) image(name string) (string, error) {
	root := filepath.Join(b.Lab.Dir(), name)
	for _, dir := range []string{"tmp", "proc", "dev", "sys", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	gen, err := os.ReadFile(b.gen)
	if err != nil {
		return "", err
	}
	return root, os.WriteFile(filepath.Join(root, "gen"), gen, 0o755)
}

type docker struct {
	*lab.Docker
	b *bench
}

func (b *bench) openDocker(ctx context.Context) (docker, error) {
	root, err := b.image("image")
	if err != nil {
		return docker{}, err
	}
	tar := root + ".tar"
	if out, err := exec.CommandContext(ctx, "tar", "-C", root, "-cf", tar, ".").CombinedOutput(); err != nil {
		return docker{}, fmt.Errorf("pack image: %w: %s", err, out)
	}
	d, err := b.Lab.Docker(ctx)
	if err != nil {
		return docker{}, err
	}
	_, err = d.Run(ctx, "import", tar, "gen")
	return docker{d, b}, err
}

func (d docker) run(ctx context.Context) (subject, error) {
	id, err := d.Run(ctx, "run", "--detach", "--network", "none", "--log-driver", "json-file", "gen", "/gen", "flood", strconv.Itoa(d.b.lines))
	if err != nil {
		return subject{}, err
	}
	pid, file, err := d.Inspect(ctx, id)
	return subject{
		dir: fmt.Sprintf("/proc/%d/root/tmp", pid),
		done: func(ctx context.Context) error {
			return rig.Await(ctx, "Docker's file to end with the last line", func() (bool, error) { return endsWith(file, fmt.Sprintf("%010d", d.b.lines)) })
		},
		stop: func(ctx context.Context) error { _, err := d.Run(ctx, "rm", "--force", id); return err },
	}, err
}

// endsWith looks for a word near the end of a file.
func endsWith(file, word string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	buf := make([]byte, min(end, 400))
	_, err = f.ReadAt(buf, end-int64(len(buf)))
	return bytes.Contains(buf, []byte(word)), err
}

// ctr runs the generator with containerd's own client, which copies its output to a file.
func (b *bench) ctr(ctx context.Context) (subject, error) {
	b.started++
	id := fmt.Sprintf("ctr-%d", b.started)
	root, err := b.image(id)
	if err != nil {
		return subject{}, err
	}
	address, err := b.Lab.Containerd(ctx)
	if err != nil {
		return subject{}, err
	}
	out, err := os.Create(root + ".out")
	if err != nil {
		return subject{}, err
	}
	defer out.Close()
	bad := &bytes.Buffer{}
	cmd := b.Lab.Command(b.Lab.Host(), "ctr", "--address", address, "--namespace", "bench", "run",
		"--cgroup", b.Lab.CgroupParent()+"/"+id, "--rootfs", root, id, "/gen", "flood", strconv.Itoa(b.lines))
	cmd.Stdout, cmd.Stderr = out, bad
	if err := cmd.Start(); err != nil {
		return subject{}, err
	}
	done := func(ctx context.Context) error {
		err := rig.Await(ctx, "ctr's file to hold every line", func() (bool, error) {
			info, err := os.Stat(out.Name())
			return err == nil && info.Size() == int64(b.lines)*lineBytes, err
		})
		if err != nil {
			err = fmt.Errorf("%w: %s", err, bad)
		}
		return err
	}
	return subject{dir: filepath.Join(root, "tmp"), done: done, stop: func(ctx context.Context) error {
		kill := b.Lab.Command("", "ctr", "--address", address, "--namespace", "bench", "task", "kill", "--signal", "SIGKILL", id)
		return errors.Join(kill.Run(), ignoreExit(cmd.Wait()), os.Remove(out.Name()))
	}}, nil
}

// ignoreExit drops the status of a program that was killed.
func ignoreExit(err error) error {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil
	}
	return err
}
