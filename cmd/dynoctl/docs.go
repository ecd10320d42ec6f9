package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// docs is for the makers of packages.
func docs() *cobra.Command {
	docs := &cobra.Command{Use: "docs", Short: "Generate documentation", Hidden: true}
	docs.AddCommand(&cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages into a directory",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return writeMan(cmd.Root(), args[0]) },
	})
	return docs
}

// writeMan writes pages that depend on nothing but the commands; the date is SOURCE_DATE_EPOCH's where that is set.
func writeMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Title: "DYNOCTL", Section: "1", Source: "dynod", Manual: "dynod"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	return nil
}
