package contract_test

import (
	"context"
	"sync"

	"github.com/dynod/dynod/test/lab"
)

// profiles say in ORDER who has sourced them, in turn.
var profiles = map[string]lab.File{
	".profile.d/a.sh":     {Data: "export ORDER=${ORDER}a\n"},
	".profile.d/b.sh":     {Data: "export ORDER=${ORDER}b\n"},
	".profile.d/no.other": {Data: "export ORDER=${ORDER}wrong\n"},
	".profile":            {Data: "export ORDER=${ORDER}.profile FROM_PROFILE=yes\n"},
}

// packed is the slug of these checks, packed once.
var packed = sync.OnceValues(func() (slug, error) {
	app, err := lab.App(context.Background())
	if err != nil {
		return slug{}, err
	}
	files := map[string]lab.File{"web": {From: app, Mode: 0o755}}
	for name, f := range profiles {
		files[name] = f
	}
	file, sum, err := lab.Slug(files)
	return slug{file, sum}, err
})
