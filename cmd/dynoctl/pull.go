package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const pullLong = `Pull fetches an image or a slug ahead of the dynos that will run it:

    dynoctl pull registry.example/app@sha256:…
    dynoctl pull --slug https://…  --sha256 … --stack heroku-24

The URL of a slug and the password of a registry are secrets, and arguments can
be seen by every user of the host: "--slug -" and --password-stdin read them
from standard input. A fetch goes on when pull is interrupted.`

// pullFlags are the flags of pull.
type pullFlags struct {
	username      string
	passwordStdin bool
	url           string
	sum           string
	stack         string
}

func (c *ctl) pull() *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:               "pull [IMAGE]",
		Aliases:           []string{"prefetch"},
		Short:             "Fetch an image or a slug ahead of its dynos",
		Long:              pullLong,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			what, err := f.artifact(c.in, args)
			if err != nil {
				return usageError{err}
			}
			return c.fetch(ctx, agent, what)
		}),
	}
	cmd.Flags().StringVarP(&f.username, "username", "u", "", "user of the image's registry")
	cmd.Flags().BoolVar(&f.passwordStdin, "password-stdin", false, "read the registry's password from standard input")
	cmd.Flags().StringVar(&f.url, "slug", "", `fetch the slug at this URL instead of an image; "-" reads it from standard input`)
	cmd.Flags().StringVar(&f.sum, "sha256", "", "checksum of the slug")
	cmd.Flags().StringVar(&f.stack, "stack", "", "stack of the slug")
	for _, flag := range []string{"username", "slug", "sha256", "stack"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions) // fails for an unknown flag only
	}
	return cmd
}

func (f pullFlags) artifact(in io.Reader, args []string) (*dynodv1.Artifact, error) {
	switch {
	case f.url != "" && len(args) > 0:
		return nil, errors.New("an image and --slug: only one of them")
	case f.url != "" && (f.username != "" || f.passwordStdin):
		return nil, errors.New("--username and --password-stdin are for images")
	case f.url != "":
		return f.slug(in)
	case len(args) == 0:
		return nil, errors.New("an image or --slug is required")
	case f.sum != "" || f.stack != "":
		return nil, errors.New("--sha256 and --stack are for --slug")
	}
	image := &dynodv1.ImageArtifact{Reference: args[0], Username: f.username}
	if f.passwordStdin {
		var err error
		if image.Password, err = secretLine(in); err != nil {
			return nil, err
		}
	}
	return &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: image}}, nil
}

func (f pullFlags) slug(in io.Reader) (*dynodv1.Artifact, error) {
	url := f.url
	if url == "-" {
		var err error
		if url, err = secretLine(in); err != nil {
			return nil, err
		}
	}
	sum := strings.TrimPrefix(strings.ToLower(f.sum), "sha256:")
	return &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{Slug: &dynodv1.SlugArtifact{Url: url, Sha256: sum, Stack: f.stack}}}, nil
}

// secretLine is the first line of the standard input.
func secretLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("standard input is empty")
	}
	return line, nil
}

// fetch follows a fetch to its end.
func (c *ctl) fetch(ctx context.Context, agent dynodv1.AgentServiceClient, what *dynodv1.Artifact) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.PrefetchArtifact(ctx, &dynodv1.PrefetchArtifactRequest{Artifact: what})
	if err != nil {
		return err
	}
	shown := c.progress()
	for {
		answer, err := stream.Recv()
		if err != nil {
			shown.end()
			return whole(err)
		}
		shown.show(answer)
		if answer.GetComplete() {
			shown.end()
			return c.writePulled(answer)
		}
	}
}

// whole makes an end before the last message an error.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the agent said no more before the artifact was complete")
	}
	return err
}

func (c *ctl) writePulled(answer *dynodv1.PrefetchArtifactResponse) error {
	if c.json() {
		return c.writeJSON(answer)
	}
	line := "complete"
	if n := answer.GetFetchedBytes(); n > 0 {
		line += ": " + bytesOf(n) + " fetched"
	} else {
		line += ": it was here"
	}
	_, err := fmt.Fprintln(c.out, line)
	return err
}
