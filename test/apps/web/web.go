package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// web serves until ctx ends; then it finishes what it is answering.
func web(ctx context.Context, c *counter) error {
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if os.Getenv("LINES") != "" {
		if err := worker(ctx, c); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return shutdown(server)
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	}
}

func shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

func answer(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname()
	fmt.Printf("method=%s path=%q from=%s\n", r.Method, r.URL.Path, r.RemoteAddr)
	fmt.Fprintf(w, "Hello from %s (%s, process %d)\n", os.Getenv("DYNO"), host, os.Getpid())
}
