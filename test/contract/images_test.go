package contract_test

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func images() []sentence {
	return []sentence{
		{"I1", "An image's own entrypoint and command run when the order names none.", func(s *stage) error { return s.image().holds("argument", "from the image") }},
		{"I2", "The words of an order stand in place of the image's command, after its entrypoint; no shell reads them.", func(s *stage) error {
			l := s.imageRun(&dynodv1.Command{Words: []string{"$HOME and more"}})
			return l.holds("argument", "$HOME and more")
		}},
		{"I3", "An order's command line runs by a shell of the image, in place of entrypoint and command.", func(s *stage) error {
			return s.imageRun(&dynodv1.Command{Line: "echo line=$COLOUR; pwd"}).stdout("line=green", "/srv")
		}},
		{"I4", "The image's environment is there, with the platform's variables and the config vars on top.", func(s *stage) error {
			return s.image().holds("colour", "green", "port", "5000", "home", "/app", "dyno", "run.1", "flavour", "mine")
		}},
		{"I5", "The image's working directory is the command's.", func(s *stage) error { return s.image().holds("cwd", "/srv") }},
		{"I6", "`USER root` is not honoured: the command runs as the dyno's user.", func(s *stage) error { return s.image().holds("uid", "1000") }},
		{"I7", "`STOPSIGNAL` is not: a stop sends SIGTERM.", func(s *stage) error {
			return errors.Join(s.image().err, unless(rigCount(s.image(), "got SIGTERM") == 1, "it got none"))
		}},
		{"I8", "`VOLUME`, `EXPOSE` and `HEALTHCHECK` are not: nothing is mounted, only `$PORT` counts, nothing is run.", func(s *stage) error { return s.image().holds("data", "of the image", "checked", "no") }},
		{"I9", "An image of Cloud Native Buildpacks is started through its launcher, with the process type of the order.", func(s *stage) error {
			web := s.buildpacks("web.1", nil)
			return errors.Join(web.holds("process", "web"), s.buildpacks("worker.1", nil).holds("process", "worker"))
		}},
		{"I10", "A command of the order runs through that launcher too.", func(s *stage) error {
			return s.buildpacks("run.1", &dynodv1.Command{Words: []string{"echo", "hello"}}).holds("arguments", "echo hello")
		}},
	}
}

// script is the entrypoint of an image.
const script = `#!/bin/bash
echo "argument=$1"; echo "colour=$COLOUR"; echo "flavour=$FLAVOUR"; echo "port=$PORT"; echo "home=$HOME"; echo "dyno=$DYNO"
echo "cwd=$(pwd)"; echo "uid=$(id -u)"; echo "data=$(cat /data/file)"
trap 'echo got SIGTERM; [ -e /tmp/checked ] && echo checked=yes || echo checked=no; exit 0' TERM
trap 'echo got SIGINT' INT
[ "$1" = "from the image" ] || exit 0
echo ready; sleep 600 & wait
`

// asking is an image that asks for much.
func asking() (v1.Image, error) {
	stack, err := lab.SmallStack(context.Background())
	if err != nil {
		return nil, err
	}
	return lab.ImageOn(stack, map[string]lab.File{"entry": {Data: script, Mode: 0o755}, "data/file": {Data: "of the image\n"}, "srv/file": {}}, v1.Config{
		Entrypoint: []string{"/entry"}, Cmd: []string{"from the image"}, WorkingDir: "/srv", User: "root", StopSignal: "SIGINT",
		Env:     []string{"PATH=/bin", "COLOUR=green", "FLAVOUR=of the image", "PORT=80", "HOME=/root"},
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"6000/tcp": {}},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD-SHELL", "touch /tmp/checked"}, Interval: 1e9},
	})
}

// image is a dyno of that image, without a command in its order, alive for as long as a health check would need.
func (s *stage) image() life {
	return scene(s, "image", func() life {
		return s.play(s.imageOrder("asking", asking, "run.1", nil), s.said("ready"), wait(1500e6), s.stop(""))
	})
}

func (s *stage) imageRun(c *dynodv1.Command) life {
	return s.play(s.imageOrder("asking", asking, "run.1", c))
}

// imageOrder orders a dyno of an image in the outside's registry; it is made and pushed once.
func (s *stage) imageOrder(app string, make func() (v1.Image, error), name string, c *dynodv1.Command) *dynodv1.StartDynoRequest {
	type pushed struct {
		ref string
		err error
	}
	p := scene(s, "image "+app, func() (p pushed) {
		img, err := make()
		if err != nil {
			return pushed{err: err}
		}
		p.ref, p.err = s.outside.push(app, img)
		return p
	})
	if p.err != nil {
		p.ref = p.err.Error() // which the agent refuses, and says
	}
	return s.order(name, "", rig.OneOff, rig.Env("FLAVOUR", "mine"), func(o *dynodv1.StartDynoRequest) {
		o.Spec.Command = c
		o.Spec.Artifact = &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: &dynodv1.ImageArtifact{
			Reference: p.ref, Username: owner.Username, Password: owner.Password,
		}}}
	})
}

// launcher stands for the one of the buildpacks' lifecycle: it is called by the name of a process type, or with the
// words of a command.
const launcher = `#!/bin/bash
[ "$1" = -- ] && shift
echo "process=${0##*/}"; echo "arguments=$*"
`

const processes = `{"processes":[
{"type":"web","command":["bin/web"],"args":[],"direct":true,"buildpackID":"test"},
{"type":"worker","command":["bin/worker"],"args":[],"direct":true,"buildpackID":"test"}]}`

func built() (v1.Image, error) {
	stack, err := lab.SmallStack(context.Background())
	if err != nil {
		return nil, err
	}
	return lab.ImageOn(stack, map[string]lab.File{
		"cnb/lifecycle/launcher": {Data: launcher, Mode: 0o755},
		"cnb/process/web":        {Link: "/cnb/lifecycle/launcher"},
		"cnb/process/worker":     {Link: "/cnb/lifecycle/launcher"},
		"workspace/file":         {},
	}, v1.Config{
		Entrypoint: []string{"/cnb/process/web"}, WorkingDir: "/workspace", User: "root",
		Env:    []string{"PATH=/cnb/process:/cnb/lifecycle:/bin", "CNB_PLATFORM_API=0.12", "CNB_LAYERS_DIR=/layers", "CNB_APP_DIR=/workspace"},
		Labels: map[string]string{"io.buildpacks.build.metadata": processes},
	})
}

func (s *stage) buildpacks(name string, c *dynodv1.Command) life {
	return scene(s, "buildpacks "+name, func() life { return s.play(s.imageOrder("built", built, name, c)) })
}
