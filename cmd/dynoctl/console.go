package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/console"
	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// ttyFlags say whether a command gets a terminal.
type ttyFlags struct{ force, never bool }

func (f *ttyFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.force, "tty", "t", false, "give the command a terminal, although this is none")
	cmd.Flags().BoolVarP(&f.never, "no-tty", "T", false, "give it none, although this is one")
	cmd.MarkFlagsMutuallyExclusive("tty", "no-tty")
}

// tty says whether the command gets a terminal: by default where its user has one.
func (c *ctl) tty(f ttyFlags) bool {
	return f.force || !f.never && c.terminal && c.console() != nil
}

// console is the terminal on standard input, or nil.
func (c *ctl) console() console.Console {
	f, ok := c.in.(*os.File)
	if !ok {
		return nil
	}
	terminal, err := console.ConsoleFromFile(f)
	if err != nil {
		return nil
	}
	return terminal
}

// size is the size of that terminal, or nil.
func (c *ctl) size() *dynodv1.WindowSize {
	terminal := c.console()
	if terminal == nil {
		return nil
	}
	size, err := terminal.Size()
	if err != nil {
		return nil
	}
	return &dynodv1.WindowSize{Rows: uint32(size.Height), Columns: uint32(size.Width)}
}

// rawMode makes every key input of the command: Ctrl-C is for it to judge. restore must be called in any case.
func (c *ctl) rawMode(tty bool) (restore func(), err error) {
	terminal := c.console()
	if !tty || terminal == nil {
		return func() {}, nil
	}
	if err := terminal.SetRaw(); err != nil {
		return nil, errors.Join(fmt.Errorf("set terminal: %w", err), terminal.Reset())
	}
	return func() { _ = terminal.Reset() }, nil
}
