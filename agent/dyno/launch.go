package dyno

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Image is what the configuration of an image asks for; zero for a slug.
type Image struct {
	Entrypoint  []string    `json:"entrypoint,omitempty"`
	Command     []string    `json:"command,omitempty"`
	Environment []string    `json:"environment,omitempty"`
	Directory   string      `json:"directory,omitempty"`
	Buildpacks  *Buildpacks `json:"buildpacks,omitempty"` // nil for an image that Cloud Native Buildpacks did not build
}

// Home of every dyno, and its working directory unless an image says otherwise.
const Home = "/app"

// prologue is what a login shell does, in Heroku's order and on any stack: its own profile, then what buildpacks have
// put into .profile.d, then the app's .profile.
const prologue = `[ -r /etc/profile ] && . /etc/profile
for profile in /app/.profile.d/*.sh; do [ -r "$profile" ] && . "$profile"; done; unset profile
[ -r /app/.profile ] && . /app/.profile
`

// Arguments are the words that dyno-init executes: a login shell for a slug, the image's own command otherwise.
func (s Spec) Arguments(image Image) []string {
	switch {
	case s.Artifact.Image == "":
		return []string{"/bin/bash", "--noprofile", "--login", "-c", prologue + s.Command.Line}
	case image.Buildpacks != nil:
		return image.Buildpacks.arguments(s)
	case s.Command.Line != "":
		return []string{"/bin/sh", "-c", s.Command.Line}
	case len(s.Command.Words) > 0:
		return append(slices.Clone(image.Entrypoint), s.Command.Words...)
	default:
		return append(slices.Clone(image.Entrypoint), image.Command...)
	}
}

// Further are the words of one more command in the dyno, with what the dyno's own command has: a login shell's profiles
// in a slug, the launcher's environment in a buildpacks image. Without words it is a shell.
func (s Spec) Further(image Image, words []string) []string {
	slug := s.Artifact.Image == ""
	switch {
	case len(words) > 0:
	case slug:
		words = []string{"/bin/bash"}
	default:
		words = []string{"/bin/sh"}
	}
	switch {
	case slug:
		return append([]string{"/bin/bash", "--noprofile", "--login", "-c", prologue + `exec "$@"`, "bash"}, words...)
	case image.Buildpacks != nil:
		return append([]string{launcher, "--"}, words...)
	}
	return words
}

// CommandShown is the command as the log shows it.
func (s Spec) CommandShown(image Image) string {
	port := strconv.Itoa(int(s.Port))
	if shown := s.Command.Shown(port); shown != "" {
		return shown
	}
	return Command{Words: s.Arguments(image)}.Shown(port)
}

// Directory is where the command starts.
func (s Spec) Directory(image Image) string {
	if s.Artifact.Image != "" {
		return or(image.Directory, "/")
	}
	return Home
}

// Environ is the whole environment, sorted: image, then platform, then config vars, the later winning.
func (r Record) Environ(image Image) []string {
	env := map[string]string{}
	for _, pair := range image.Environment {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	if env["PATH"] == "" {
		env["PATH"] = "/usr/local/bin:/usr/bin:/bin"
	}
	maps.Copy(env, map[string]string{
		"DYNO": r.Spec.Name, "PORT": strconv.Itoa(int(r.Spec.Port)),
		"HOME": r.home(env["HOME"], image), "PWD": r.Spec.Directory(image),
	})
	maps.Copy(env, r.metadata())
	maps.Copy(env, r.Spec.Secret.Environment)
	pairs := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, name+"="+env[name])
	}
	return pairs
}

// About is what /etc/heroku/dyno says; nil unless the order carries metadata.
func (r Record) About() []byte {
	m := r.Spec.Metadata
	if m == (Metadata{}) {
		return nil
	}
	type named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	type release struct {
		ID          string `json:"id"`
		Commit      string `json:"commit"`
		Description string `json:"description"`
	}
	data, _ := json.Marshal(struct { // strings alone cannot fail
		Dyno    named   `json:"dyno"`
		App     named   `json:"app"`
		Release release `json:"release"`
	}{named{r.ID, r.Spec.Name}, named{m.AppID, r.Spec.App}, release{m.ReleaseID, m.SlugCommit, m.SlugDescription}})
	return append(data, '\n')
}

// home is the image's own where Cloud Native Buildpacks built it: what they have installed may look for itself there.
func (r Record) home(own string, image Image) string {
	if image.Buildpacks != nil {
		return or(own, Home)
	}
	return Home
}

// metadata is dyno metadata as Heroku's labs feature names it; only when the order carries it.
func (r Record) metadata() map[string]string {
	m := r.Spec.Metadata
	if m == (Metadata{}) {
		return nil
	}
	env := map[string]string{
		"HEROKU_APP_ID": m.AppID, "HEROKU_APP_NAME": r.Spec.App, "HEROKU_DYNO_ID": r.ID,
		"HEROKU_RELEASE_VERSION": m.ReleaseVersion, "HEROKU_SLUG_COMMIT": m.SlugCommit, "HEROKU_SLUG_DESCRIPTION": m.SlugDescription,
	}
	if !m.ReleaseCreatedAt.IsZero() {
		env["HEROKU_RELEASE_CREATED_AT"] = m.ReleaseCreatedAt.UTC().Format(time.RFC3339)
	}
	maps.DeleteFunc(env, func(_, value string) bool { return value == "" })
	return env
}
