package logs

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/logplex"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/logs/syslog"
)

// Receiver is where one dyno's lines go besides the upstream. Both fields are secret.
type Receiver struct {
	URL   string // https: Logplex; syslog+tls: RFC 5424 over TLS
	Token string // Logplex: for basic authentication; syslog: in place of the host's name. May be empty
}

// Origin is what receivers are told of where lines come from.
type Origin struct{ Host, Process string }

// MaxReceivers is how many receivers a dyno may have.
const MaxReceivers = spool.MaxReceivers

// outlet makes one attempt to deliver frames. An error of the class errdefs.ErrInvalidArgument says that the same
// frames will never be taken.
type outlet interface {
	send(ctx context.Context, b logplex.Batch) error
	close()
	kind() string
}

// outlets make the outlets of all dynos.
type outlets struct {
	dialer syslog.Dialer
	client *http.Client
}

func newOutlets(caFile string) (outlets, error) {
	dialer, err := syslog.NewDialer(caFile)
	return outlets{dialer, logplex.NewClient(dialer)}, err
}

// open gives the outlet of a receiver and the origin as that is told.
func (o outlets) open(r Receiver, from Origin) (outlet, syslog.Origin, error) {
	origin := syslog.Origin{Host: from.Host, Process: from.Process}
	u, err := url.Parse(r.URL)
	if err != nil { // its text holds the URL
		return nil, origin, fmt.Errorf("parse URL of a log receiver: %w", errdefs.ErrInvalidArgument)
	}
	switch u.Scheme {
	case "https":
		return plexOutlet{logplex.NewSender(o.client, u, r.Token)}, origin, nil
	case "syslog+tls":
		origin.Host = cmp.Or(r.Token, origin.Host)
		return syslogOutlet{syslog.NewSender(o.dialer, u)}, origin, nil
	}
	return nil, origin, fmt.Errorf("log receiver of scheme %q: %w", u.Scheme, errdefs.ErrInvalidArgument)
}

type plexOutlet struct{ *logplex.Sender }

func (o plexOutlet) send(ctx context.Context, b logplex.Batch) error { return o.Send(ctx, b) }

func (plexOutlet) close() {} // the client's connections are shared

func (plexOutlet) kind() string { return Logplex }

type syslogOutlet struct{ *syslog.Sender }

func (o syslogOutlet) send(ctx context.Context, b logplex.Batch) error { return o.Send(ctx, b.Frames) }

func (o syslogOutlet) close() { o.Close() }

func (syslogOutlet) kind() string { return Syslog }

// message is a line as receivers get it.
func message(l Line) syslog.Message {
	m := syslog.Message{Kind: syslog.App, Time: l.Time, Text: l.Text}
	if l.Stream == Platform {
		m.Kind = syslog.KindOfPlatform(l.Text)
	}
	return m
}

// The codes under which losses are told, as the contract has them.
const (
	codeDropped = "Error L12: %d messages dropped since %s"
	codeLost    = "Error L13: %d messages lost since %s"
)

func notice(code string, l spool.Loss, now time.Time) syslog.Message {
	text := fmt.Sprintf(code, l.Lines, l.Since.UTC().Format("2006-01-02T15:04:05.000000-07:00"))
	return syslog.Message{Kind: syslog.Loss, Time: now, Text: []byte(text)}
}
