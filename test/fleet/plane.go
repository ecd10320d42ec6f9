package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/bench/proc"
)

// plane is the dynoplane under test.
type plane struct {
	program, dir string
	address      string // of its first life, kept
	cmd          *exec.Cmd
	since        time.Time // when it listened
	taken        int64     // TCP connections of the machine until then
	read         int64     // bytes of its reports that were looked at
}

// files are the certificate of one side.
func (p *plane) files(name string) transport.TLSFiles {
	path := func(file string) string { return filepath.Join(p.dir, "certs", file) }
	return transport.TLSFiles{Cert: path(name + ".pem"), Key: path(name + "-key.pem"), CA: path("ca.pem")}
}

// open makes certificates and starts it.
func (p *plane) open(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, p.program, "certs", filepath.Join(p.dir, "certs")).CombinedOutput(); err != nil {
		return fmt.Errorf("make certificates: %w: %s", err, out)
	}
	p.address = "127.0.0.1:0"
	return p.start()
}

// start starts it and waits until it listens.
func (p *plane) start() error {
	f := p.files("plane")
	p.cmd = exec.Command(p.program, "serve", "--listen", p.address, "--data", filepath.Join(p.dir, "data"),
		"--cert", f.Cert, "--key", f.Key, "--ca", f.CA, "--allow", "agent")
	said, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	in := bufio.NewReader(said)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("dynoplane ended: %w: %s", p.cmd.Wait(), line)
		}
		if _, rest, ok := bytes.Cut([]byte(line), []byte("address=")); ok {
			address, _, _ := bytes.Cut(rest, []byte(" "))
			p.address, p.since = string(address), time.Now()
			go func() { _, _ = io.Copy(io.Discard, in) }() // else it would block
			p.taken, err = connections()
			return err
		}
	}
}

// connections is how many TCP connections were taken on this machine.
func connections() (int64, error) {
	all, err := procfs.Self()
	if err != nil {
		return 0, err
	}
	snmp, err := all.Snmp()
	if err != nil || snmp.PassiveOpens == nil {
		return 0, fmt.Errorf("count connections: %w", err)
	}
	return int64(*snmp.PassiveOpens), nil
}

// kill ends it with SIGKILL.
func (p *plane) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// used is the CPU time of its present life.
func (p *plane) used() (time.Duration, error) { return proc.CPU(p.cmd.Process.Pid) }

// report is one that it has received.
type report struct {
	received time.Time
	size     int // on the wire, before TLS
	*dynodv1.ReportRequest
}

// news are the reports that came since news was last called.
func (p *plane) news() ([]report, error) {
	f, err := os.Open(filepath.Join(p.dir, "data", "reports.jsonl"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(p.read, io.SeekStart); err != nil {
		return nil, err
	}
	var all []report
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all, nil // an unfinished line is read again
		}
		if err != nil {
			return nil, err
		}
		r, err := parse(line)
		if err != nil {
			return nil, err
		}
		all, p.read = append(all, r), p.read+int64(len(line))
	}
}

func parse(line []byte) (report, error) {
	var in struct {
		Received time.Time
		Report   json.RawMessage
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return report{}, err
	}
	r := report{received: in.Received, ReportRequest: &dynodv1.ReportRequest{}}
	err := protojson.Unmarshal(in.Report, r.ReportRequest)
	r.size = proto.Size(r.ReportRequest)
	return r, err
}
