package main

import (
	"context"
	"fmt"

	"github.com/dynod/dynod/test/bench/contender"
)

// facts is what must be the same in all contenders' containers: every program and file of the root file system but
// those that runtimes write, the directory and the port.
const facts = `echo $(find /bin /usr /app /etc/profile /etc/os-release -type f -exec sha256sum {} + | sort | sha256sum) $PWD $PORT; ` + command

// same is the control: all contenders have the same root file system, directory and port.
func (b *bench) same(ctx context.Context) error {
	for _, c := range b.contenders {
		said, err := ask(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
		if b.control == "" {
			b.control = said
		}
		if said != b.control {
			return fmt.Errorf("%s measures something else than %s: %q, not %q", c.Name(), b.contenders[0].Name(), said, b.control)
		}
	}
	fmt.Println("control: the same for all:", b.control)
	return b.settle(ctx)
}

func ask(ctx context.Context, c contender.Contender) (string, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	s, err := c.Start(ctx, facts)
	if err != nil {
		return "", err
	}
	l, err := s.Line(ctx)
	if err != nil {
		return "", err
	}
	_, err = s.Stop(ctx)
	return l.Text, err
}
