package state

// Shared is a sync that many share.
func Shared(sync func() error) func() error { return newSyncs(sync).do }
