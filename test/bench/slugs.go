package main

import "context"

func (b *bench) slugs(context.Context) error { return nil }
