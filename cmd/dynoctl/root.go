package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynod/dynod/agent/rpc/transport"
)

// ctl is one run of the command: where it writes and what the global flags say.
type ctl struct {
	in          io.Reader
	out, errOut io.Writer
	terminal    bool // out is one: bytes of dynos must not reach it unescaped
	colour      bool // and it may be coloured

	socket     string
	address    string
	files      transport.TLSFiles
	serverName string
	output     string
	timeout    time.Duration

	running   bool // flags and arguments were right: errors from here on are not about usage
	following bool // the command goes on until its user ends it
}

const long = `dynoctl shows and steers the dynos of one host.

A dyno is named by its id, by the beginning of its id, by its name (web.1) or by
app and name (shop/web.1). A name that several dynos bear means the only one of
them that lives, and is an error when that does not decide it.

With --output json every command writes one JSON object, the API's answer in
protobuf's JSON form (camelCase keys, all fields present, 64-bit numbers as
strings, bytes as base64). "logs", "events" and "drain" write one object a line.

Exit codes: 0 done; 1 failed; 2 wrong usage: flags, arguments or an order that
is not valid; 3 the agent cannot be reached or is not ready; 4 no such dyno;
5 refused: not permitted, exists already, no capacity, or not in this state.
Of several failures the first decides. "run", "exec", "attach" and "wait" leave
with the status of the command or dyno instead, and with 125 where they fail.`

func (c *ctl) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "dynoctl",
		Short:         "Show and steer the dynos of this host",
		Long:          long,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if c.output != "table" && c.output != "json" {
				return fmt.Errorf("--output %q: must be table or json", c.output)
			}
			if c.address != "" && cmd.Flags().Changed("socket") {
				return errors.New("--address and --socket: only one of them")
			}
			c.running = true
			return nil
		},
	}
	c.globalFlags(root)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.errOut)
	root.AddCommand(c.ps(), c.inspect(), c.start(), c.stop(), c.logs(), c.events(), c.host(), c.cordon(), c.uncordon(), c.drain(),
		c.run(), c.runDetached(), c.exec(), c.attach(), c.signal(), c.wait(), c.pull(), c.images(), c.prune(),
		c.doctor(), c.metrics(), c.version(), docs())
	return root
}

func (c *ctl) globalFlags(root *cobra.Command) {
	socket := os.Getenv("DYNOD_SOCKET")
	if socket == "" {
		socket = "/run/dynod/dynod.sock"
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.socket, "socket", socket, "unix socket of the agent (environment: DYNOD_SOCKET)")
	flags.StringVar(&c.address, "address", "", "HOST:PORT of a remote agent, instead of the socket; needs --cert, --key and --ca")
	flags.StringVar(&c.files.Cert, "cert", "", "client certificate file for --address")
	flags.StringVar(&c.files.Key, "key", "", "key file of that certificate")
	flags.StringVar(&c.files.CA, "ca", "", "file with the CA of the agent's certificate")
	flags.StringVar(&c.serverName, "server-name", "", "name in the agent's certificate (default: the host of --address)")
	flags.StringVarP(&c.output, "output", "o", "table", "table or json")
	flags.DurationVar(&c.timeout, "timeout", 10*time.Second, "longest wait for each answer of the agent")
}

// json tells whether --output json was given.
func (c *ctl) json() bool { return c.output == "json" }
