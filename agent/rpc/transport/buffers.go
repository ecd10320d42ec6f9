package transport

import (
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
)

// The sizes of buffers that messages are written into; grpc clears each before use. Its own have nothing between 32 KiB
// and 1 MiB, which is where batches of log lines are.
func init() { // grpc takes it at no other time
	experimental.SetDefaultBufferPool(mem.NewTieredBufferPool(256, 4<<10, 16<<10, 32<<10, 192<<10, 1<<20))
}
