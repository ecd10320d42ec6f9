package scrape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	connections = 16 // those beyond wait
	atOnce      = 4  // scrapes; those beyond are refused
	headerLimit = 5 * time.Second
	scrapeLimit = 10 * time.Second
	idleLimit   = 2 * time.Minute // longer than scrapes are apart
	headerBytes = 16 << 10
)

// Serve answers GET /metrics until ctx ends. It has no secret to tell and lets everybody in who can connect.
func Serve(ctx context.Context, lis net.Listener, from prometheus.Gatherer, log *slog.Logger) error {
	pages := http.NewServeMux()
	pages.Handle("GET /metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: atOnce, Timeout: scrapeLimit, EnableOpenMetrics: true,
	}))
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: headerLimit, ReadTimeout: headerLimit, WriteTimeout: 2 * scrapeLimit, IdleTimeout: idleLimit,
		MaxHeaderBytes: headerBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(netutil.LimitListener(lis, connections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
