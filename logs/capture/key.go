package capture

import (
	"strings"

	"github.com/dynod/dynod/logs/spool"
)

// key names one stream that is read.
type key struct {
	id     string
	stream spool.Stream
}

// stageMark follows the stream's name in the fd store where its stage is meant. It is short: all names have to fit into an
// environment.
const stageMark = "+"

// name is the stream's name among files and in the service manager's fd store: "<dyno id>.out" or "<dyno id>.err".
func (k key) name() string { return k.id + "." + k.stream.String() }

func parseKey(name string) (key, bool) {
	id, stream, _ := strings.Cut(name, ".")
	for _, s := range captured {
		if s.String() == stream && spool.ValidID(id) {
			return key{id, s}, true
		}
	}
	return key{}, false
}
