package contract_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func network() []sentence {
	return []sentence{
		{"N1", "A dyno has a network interface and all ports of its own: it may listen on any, and reach itself.", func(s *stage) error {
			return s.run(`ls /sys/class/net | tr '\n' ' '; echo
nc -l -p 8080 </dev/null & nc -l -p $PORT </dev/null & sleep 1; for p in 8080 $PORT; do nc -w 2 127.0.0.1 $p </dev/null && echo reached $p; done; wait`).stdout("eth0 lo ", "reached 8080", "reached 5000")
		}},
		{"N2", "From outside `$PORT` is reached through the host port that the agent reports.", func(s *stage) error { return s.entrance().inside }},
		{"N3", "No other port of a dyno is reached from outside.", func(s *stage) error { return s.entrance().other }},
		{"N4", "A dyno reaches the internet.", func(s *stage) error { return s.reaches("the outside", "open") }},
		{"N5", "A dyno does not reach another dyno.", func(s *stage) error { return s.reaches("another dyno", "closed") }},
		{"N6", "A dyno does not reach its host, by none of the host's addresses.", func(s *stage) error {
			return errors.Join(s.reaches("the host", "closed"), s.reaches("the host's end of its link", "closed"))
		}},
		{"N7", "A dyno does not reach the metadata service of the instance, 169.254.169.254, nor any other link-local address.", func(s *stage) error {
			return errors.Join(s.reaches("the metadata service", "closed"), s.reaches("a link-local address", "closed"))
		}},
		{"N8", "A dyno has no IPv6: `fd00:ec2::254` is not reached either.", func(s *stage) error {
			return s.run(`cat /proc/net/if_inet6 2>/dev/null; nc -w 2 fd00:ec2::254 80 </dev/null >/dev/null 2>&1 || echo closed`).stdout("closed")
		}},
		{"N9", "A dyno reaches no TCP port 25, where mail is sent in bulk, unless the host opens it.", func(s *stage) error { return s.reaches("a mail server", "closed") }},
		{"N10", "Its address lies in 172.16.0.0/12, unless the host has another block, in a /30 of its own.", func(s *stage) error {
			l := s.inside()
			addr, err := netip.ParseAddr(l.dyno.GetAddress())
			if err := errors.Join(l.err, err, unless(netip.MustParsePrefix("172.16.0.0/12").Contains(addr), "it is %s", addr)); err != nil {
				return err
			}
			return s.run(`ip -4 addr show eth0 | awk '/inet/ {sub(".*/", "", $2); print "/" $2}'`).stdout("/30")
		}},
		{"N11", "Dynos of one private space reach one another on all ports; a dyno of another space, or of none, does not reach them.", (*stage).spaces},
	}
}

// spaces asks a dyno of a space for two of its ports: from the space itself, from another one, and from none.
func (s *stage) spaces() error {
	in := func(space string) rig.Change {
		return func(o *dynodv1.StartDynoRequest) { o.Spec.Metadata = &dynodv1.Metadata{Space: space} }
	}
	l := s.play(s.order("web.1", "httpd -p 6000 -h /tmp; exec ./web web", in("blue")), s.until(up), func(id string) error {
		out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
		if err != nil {
			return err
		}
		probe := fmt.Sprintf(`for p in 5000 6000; do nc -w 2 %s $p </dev/null >/dev/null 2>&1 && echo open || echo closed; done`, out.GetDyno().GetAddress())
		return errors.Join(
			s.run(probe, in("blue")).stdout("open", "open"),
			s.run(probe, in("red")).stdout("closed", "closed"),
			s.run(probe, in("")).stdout("closed", "closed"),
		)
	}, s.stop(""))
	return l.err
}

// entry is what the outside found at a host's ports.
type entry struct{ inside, other error }

// entrance asks a web dyno that listens on $PORT and on 6000.
func (s *stage) entrance() entry {
	return scene(s, "entrance", func() entry {
		var e entry
		l := s.play(s.order("web.1", "httpd -p 6000 -h /tmp; exec ./web web"), s.until(up), func(id string) error {
			out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
			if err != nil {
				return err
			}
			d := out.GetDyno()
			body, err := s.fetch(d, "/")
			e.inside = errors.Join(err, unless(contains(body, "Hello from web.1 ("+id), "it answers %q", body))
			for _, address := range []string{lab.HostAddress + ":6000", lab.HostAddress + ":5000", d.GetAddress() + ":6000", d.GetAddress() + ":5000"} {
				e.other = errors.Join(e.other, s.unreached(address))
			}
			return nil
		}, s.stop(""))
		return entry{errors.Join(l.err, e.inside), errors.Join(l.err, e.other)}
	})
}

// fetch asks a dyno from outside, through its host port.
func (s *stage) fetch(d *dynodv1.Dyno, path string) (string, error) {
	q, err := http.NewRequestWithContext(s.ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", lab.HostAddress, d.GetHostPort(), path), nil)
	if err != nil {
		return "", err
	}
	answer, err := s.Lab.Client(s.Lab.Outside()).Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), errors.Join(err, unless(answer.StatusCode == http.StatusOK, "%s", answer.Status))
}

func (s *stage) unreached(address string) error {
	return s.Lab.Do(s.Lab.Outside(), func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		return errors.Join(fmt.Errorf("%s answers", address), conn.Close())
	})
}

// reaches checks what one dyno found when it tried to connect to all of the places.
func (s *stage) reaches(place, want string) error {
	l := scene(s, "reaches", s.probes)
	return l.holds(place, want)
}

func (s *stage) probes() life {
	var l life
	neighbour := s.play(s.order("web.1", "./web web"), s.until(up), func(id string) error {
		out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
		if err != nil {
			return err
		}
		places := []string{
			"the outside", lab.OutsideAddress, "8080", "a mail server", lab.OutsideAddress, "25",
			"another dyno", out.GetDyno().GetAddress(), "5000",
			"the host", lab.HostAddress, "7070", "the host's end of its link", "$(ip route | awk '/default/ {print $3}')", "7070",
			"the metadata service", "169.254.169.254", "80", "a link-local address", "169.254.1.1", "8080",
		}
		if err := s.outside.answer(); err != nil {
			return err
		}
		var script strings.Builder
		for at := range slices.Chunk(places, 3) {
			fmt.Fprintf(&script, "nc -w 2 %s %s </dev/null >/dev/null 2>&1 && echo \"%s=open\" || echo \"%s=closed\"\n", at[1], at[2], at[0], at[0])
		}
		l = s.run(script.String())
		return l.err
	}, s.stop(""))
	l.err = errors.Join(l.err, neighbour.err)
	return l
}

// answer opens the outside's web and mail ports, at a link-local address too, and shows that the host reaches them.
func (o *outside) answer() error {
	for _, port := range []int{8080, 25} {
		if err := o.accept(port); err != nil {
			return err
		}
		err := o.r.Lab.Do(o.r.Lab.Host(), func() error {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", lab.OutsideAddress, port), 2*time.Second)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		if err != nil {
			return fmt.Errorf("the control arm: %w", err)
		}
	}
	return nil
}
