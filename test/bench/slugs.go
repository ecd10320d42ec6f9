package main

import (
	"context"
	"fmt"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/bench/contender"
	"github.com/dynod/dynod/test/bench/figures"
	"github.com/dynod/dynod/test/bench/slug"
)

// slugs measures starts of a large slug: the first on the host, beside containerd's own way of unpacking the same,
// and later ones, beside those of a slug with nothing in it but the application.
func (b *bench) slugs(ctx context.Context) error {
	large, err := slug.Large(ctx, b.runs.Slug, slug.Gzip)
	if err != nil {
		return err
	}
	zstd, err := slug.Large(ctx, b.runs.Slug, slug.Zstd)
	if err != nil {
		return err
	}
	var last *dynodv1.Artifact
	for n := range b.runs.Repeats {
		if _, err := b.first(ctx, zstd, n, figures.FirstZstd, figures.ApplyZstd); err != nil {
			return err
		}
		if last, err = b.first(ctx, large, n, figures.First, figures.Apply); err != nil {
			return err
		}
	}
	for range b.runs.Starts {
		if err := b.slug(ctx, figures.Second, last); err != nil {
			return err
		}
		if err := b.slug(ctx, figures.Empty, contender.Slug(b.rootfs.Slug, b.rootfs.Sum)); err != nil {
			return err
		}
	}
	return nil
}

// first measures the first start of the n-th of its like, and containerd's apply before it.
func (b *bench) first(ctx context.Context, large slug.Made, n int, first, apply string) (*dynodv1.Artifact, error) {
	file, sum, err := large.Variant(b.lab.Dir(), n)
	if err != nil {
		return nil, err
	}
	if err := b.unpack(ctx, apply, file, large.Format); err != nil {
		return nil, fmt.Errorf("containerd's apply: %w", err)
	}
	a := contender.Slug(file, sum)
	return a, b.slug(ctx, first, a)
}

// slug measures one start of a slug.
func (b *bench) slug(ctx context.Context, figure string, a *dynodv1.Artifact) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	s, err := b.dynod.Order(ctx, a, &dynodv1.Command{Line: command})
	if err != nil {
		return err
	}
	t, err := watch(ctx, s)
	if err != nil {
		return err
	}
	b.figures.Add(figure, figures.Warm, t.main)
	if _, err := s.Stop(ctx); err != nil {
		return err
	}
	return b.settle(ctx)
}

// unpack has containerd unpack it.
func (b *bench) unpack(ctx context.Context, figure, file string, format slug.Format) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	address, err := b.lab.Containerd(ctx)
	if err != nil {
		return err
	}
	took, err := slug.Apply(ctx, address, b.lab.Namespace()+"-ctr", file, format)
	if err != nil {
		return err
	}
	b.figures.Add(figure, figures.Ctr, took.Seconds())
	return b.settle(ctx)
}
