package contract_test

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func apps() (all []sentence) {
	for n, app := range lab.ThirdParties() {
		is := map[string]string{
			"node": "A Node.js server, `http-server` from npm,", "python": "A Python server, Debian's `radicale`,", "compiled": "A server in C, Debian's `webfs`,",
		}[app.Name]
		all = append(all,
			sentence{fmt.Sprintf("U%d", 2*n+1), is + " runs unmodified from a slug and answers on its host port.", func(s *stage) error { return s.answers(app, s.slugOrder(app)) }},
			sentence{fmt.Sprintf("U%d", 2*n+2), is + " does so from an OCI image.", func(s *stage) error { return s.answers(app, s.appImageOrder(app)) }},
		)
	}
	return all
}

// answers asks an app for its page, from outside.
func (s *stage) answers(app lab.ThirdParty, o *dynodv1.StartDynoRequest) error {
	l := s.play(o, s.until(up), func(id string) error {
		out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
		if err != nil {
			return err
		}
		body, err := s.fetch(out.GetDyno(), app.Page)
		return errors.Join(err, unless(contains(body, app.Says), "it answers %.200q", body))
	}, s.stop(""))
	return errors.Join(l.err, unless(l.dyno.GetPhase() == down, "it is %v", l.dyno))
}

func (s *stage) slugOrder(app lab.ThirdParty) *dynodv1.StartDynoRequest {
	file, sum, err := app.Slug(s.ctx)
	if err != nil {
		file = err.Error() // which the agent does not find
	}
	return rig.SlugOrder(s.id(), "shop", "web.1", app.Command, file, sum, func(o *dynodv1.StartDynoRequest) { o.Spec.Artifact.GetSlug().Stack = "apps" })
}

func (s *stage) appImageOrder(app lab.ThirdParty) *dynodv1.StartDynoRequest {
	image := func() (v1.Image, error) {
		stack, err := lab.AppStack(context.Background())
		if err != nil {
			return nil, err
		}
		return app.Image(context.Background(), stack)
	}
	o := s.imageOrder(app.Name, image, "web.1", nil)
	o.Spec.OneOff = false
	return o
}
