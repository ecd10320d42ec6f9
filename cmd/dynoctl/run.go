package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/cmd/dynoctl/orderfile"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const runLong = `Run starts a one-off dyno from an order file (see "dynoctl start --help"). The
file may be that of any dyno of the app: unless it orders a one-off dyno itself,
the new dyno gets an id of its own, the type run, a name such as run.4711 and no
crash policy. Words after the flags take the place of the order's command. In a
slug, one word is a shell line, and several are the words of a command; in an
image they are words in any case.`

const runAttachedLong = runLong + `

The command starts when the dyno is ready and this terminal is attached. Its
output comes here and not into the log.` + codeLong

const runDetachedLong = runLong + `

The command's output goes into the log. run:detached prints the dyno's id and
returns; with --wait when the dyno has ended, and then with its status.` + codeLong

// oneOff is what the flags of run say.
type oneOff struct {
	file, size string
	env        []string
}

func (o *oneOff) add(cmd *cobra.Command) {
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "the order (required)")
	cmd.Flags().StringVarP(&o.size, "size", "s", "", "size of the dyno (default: as the order says)")
	cmd.Flags().StringArrayVar(&o.env, "set-env", nil, "KEY=VALUE over the order's environment; may be repeated")
}

// order is the file's order, made one of a one-off dyno.
func (c *ctl) oneOffOrder(o oneOff, args []string) (*dynodv1.StartDynoRequest, error) {
	if o.file == "-" {
		return nil, usageError{fmt.Errorf("-f -: standard input is the command's")}
	}
	order, err := c.readOrder(o.file, o.env)
	if err != nil {
		return nil, err
	}
	if o.size != "" {
		order.Spec.Size = o.size
	}
	if !order.GetSpec().GetOneOff() && order.GetSpec().GetType() != "release" {
		makeOneOff(order)
	}
	if words := commandWords(args); len(words) > 0 {
		order.Spec.Command = commandOf(order.GetSpec(), words)
	}
	return order, nil
}

func makeOneOff(order *dynodv1.StartDynoRequest) {
	const numbers = 10000
	order.Header = nil
	orderfile.Complete(order)
	s := order.GetSpec()
	s.OneOff, s.Type, s.Name, s.RestartPolicy = true, "run", fmt.Sprintf("run.%d", 1+rand.IntN(numbers-1)), nil //nolint:gosec // no secret
}

// commandOf is a command for what the order runs.
func commandOf(s *dynodv1.DynoSpec, words []string) *dynodv1.Command {
	switch {
	case s.GetArtifact().GetImage() != nil:
		return &dynodv1.Command{Words: words}
	case len(words) == 1:
		return &dynodv1.Command{Line: words[0]}
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return &dynodv1.Command{Line: strings.Join(quoted, " ")}
}

// quote makes a shell read a word as it is. Plain ones stay readable.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (c *ctl) run() *cobra.Command {
	var o oneOff
	var f ttyFlags
	cmd := &cobra.Command{
		Use:         "run -f FILE [--] [COMMAND...]",
		Short:       "Run a one-off dyno attached to this terminal",
		Long:        runAttachedLong,
		Annotations: codeOfCommand,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			order, err := c.oneOffOrder(o, args)
			if err != nil {
				return err
			}
			tty := c.tty(f)
			order.Spec.Attach = &dynodv1.AttachRequest{Terminal: tty}
			if tty {
				order.Spec.Attach.Size = c.size()
				nameTerminal(order)
			}
			answer, err := agent.StartDyno(ctx, order)
			if err != nil {
				return err
			}
			err = c.attachTo(ctx, agent, order.GetHeader().GetDynoId(), tty)
			if status.Code(err) == codes.Canceled { // by its user, before the command ran
				_, failed := stopOne(context.WithoutCancel(ctx), agent, &dynodv1.StopDynoRequest{}, answer.GetDyno())
				return errors.Join(err, failed)
			}
			return err
		}),
	}
	o.add(cmd)
	f.add(cmd)
	return cmd
}

// nameTerminal tells the command what kind of terminal its user has.
func nameTerminal(order *dynodv1.StartDynoRequest) {
	if term := os.Getenv("TERM"); term != "" && order.GetSpec().GetEnvironment()["TERM"] == "" {
		_ = orderfile.SetEnv(order, []string{"TERM=" + term}) // it is a pair
	}
}

func (c *ctl) runDetached() *cobra.Command {
	var o oneOff
	var wait bool
	cmd := &cobra.Command{
		Use:         "run:detached -f FILE [--] [COMMAND...]",
		Short:       "Run a one-off dyno whose output goes into the log",
		Long:        runDetachedLong,
		Annotations: codeOfCommand,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			order, err := c.oneOffOrder(o, args)
			if err != nil {
				return err
			}
			answer, err := agent.StartDyno(ctx, order)
			if err != nil {
				return err
			}
			if err := c.writeID(answer); err != nil || !wait {
				return err
			}
			return c.statusOfEnd(ctx, agent, answer.GetDyno())
		}),
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended, and leave with its status")
	return cmd
}

func (c *ctl) writeID(answer *dynodv1.StartDynoResponse) error {
	if c.json() {
		return c.writeJSON(answer)
	}
	_, err := fmt.Fprintln(c.out, answer.GetDyno().GetId())
	return err
}
