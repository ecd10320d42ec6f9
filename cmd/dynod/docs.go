package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/dynod/dynod/cmd/dynod/config"
)

// docsCommand is for the makers of packages.
func docsCommand() *cobra.Command {
	docs := &cobra.Command{Use: "docs", Short: "generate documentation", Hidden: true, Args: noArgs, RunE: help}
	docs.AddCommand(&cobra.Command{
		Use: "man DIR", Short: "write the man pages into a directory", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return writeMan(cmd.Root(), args[0]) },
	})
	return docs
}

// writeMan writes pages that depend on nothing but commands and settings; the date is SOURCE_DATE_EPOCH's where that is set.
func writeMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Title: "DYNOD", Section: "8", Source: "dynod", Manual: "dynod"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	page := md2man.Render([]byte(config.ManPage()))
	if err := os.WriteFile(filepath.Join(dir, "dynod.toml.5"), page, 0o644); err != nil { //nolint:gosec // for all to read
		return fmt.Errorf("write man pages: %w", err)
	}
	return nil
}
