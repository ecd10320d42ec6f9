package dyno

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Spec is one dyno as ordered, with the agent's defaults filled in. It never changes during the dyno's life.
type Spec struct {
	App           string        `json:"app"`
	Name          string        `json:"name"`
	Type          string        `json:"type"`
	Size          string        `json:"size"`
	Limits        Limits        `json:"limits"`
	Artifact      Artifact      `json:"artifact"`
	Command       Command       `json:"command"`
	Port          uint16        `json:"port"`
	BootTimeout   time.Duration `json:"boot_timeout"`
	Grace         time.Duration `json:"grace"`
	TimeToLive    time.Duration `json:"time_to_live,omitempty"`
	Restart       Policy        `json:"restart"`
	OneOff        bool          `json:"one_off,omitempty"`
	Attach        *Attach       `json:"attach,omitempty"`
	Metrics       bool          `json:"log_runtime_metrics,omitempty"` // lines of load and memory at every sample
	NetworkPolicy string        `json:"network_policy"`
	Metadata      Metadata      `json:"metadata"`

	// Given tells orders apart as they came, before defaults were filled in: a digest without the secret part. Empty in a
	// record of an earlier agent.
	Given string `json:"given,omitempty"`

	// Secret is kept apart: it reaches memory and tmpfs, never a disk.
	Secret Secret `json:"-"`
}

// Web says whether the dyno is up only once it listens on its port.
func (s Spec) Web() bool { return s.Type == "web" }

// Limits bound one dyno. In a record they are complete.
type Limits struct {
	Memory     int64  `json:"memory"`                // quota, bytes
	Swap       int64  `json:"swap,omitempty"`        // bytes beyond the quota that may be swapped
	R15Percent int64  `json:"r15_percent,omitempty"` // of the quota, in memory and swap, that end the dyno; 0: the kernel alone decides
	CPUWeight  uint64 `json:"cpu_weight"`            // cgroup v2 scale, 100 is one share
	CPUMilli   int64  `json:"cpu_milli,omitempty"`   // ceiling in thousandths of a CPU; 0: none
	Pids       int64  `json:"pids"`                  // processes and threads
	Files      uint64 `json:"files"`                 // open files of one process
	Disk       int64  `json:"disk,omitempty"`        // bytes on disk that it may write; 0: no bound

	MemoryHigh   int64  `json:"memory_high,omitempty"`   // percent of the quota above which it is slowed down; 0: none
	IOWeight     uint64 `json:"io_weight,omitempty"`     // cgroup v2 scale, 100 is one share; 0: the kernel's default
	IOBytes      uint64 `json:"io_bytes,omitempty"`      // of disk traffic a second, each way; 0: no bound
	IOOperations uint64 `json:"io_operations,omitempty"` // of the disk a second, each way; 0: no bound
}

// Artifact is what a dyno runs: a slug on a stack, or an image.
type Artifact struct {
	Stack  string `json:"stack,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of the compressed slug, hexadecimal
	Image  string `json:"image,omitempty"`  // registry reference or path of an OCI archive
}

// String names the artifact as dynoctl shows it.
func (a Artifact) String() string {
	if a.Image != "" {
		return a.Image
	}
	return a.Stack + " SHA256:" + a.SHA256
}

// Command is a shell line, or the words of a command that no shell interprets.
type Command struct {
	Line  string   `json:"line,omitempty"`
	Words []string `json:"words,omitempty"`
}

// Metadata is what the app may read about itself.
type Metadata struct {
	AppID            string    `json:"app_id,omitempty"`
	ReleaseID        string    `json:"release_id,omitempty"`
	ReleaseVersion   string    `json:"release_version,omitempty"`
	ReleaseCreatedAt time.Time `json:"release_created_at,omitzero"`
	SlugCommit       string    `json:"slug_commit,omitempty"`
	SlugDescription  string    `json:"slug_description,omitempty"`
	Space            string    `json:"space,omitempty"`
}

// Secret is the part of an order whose values may stand in no log, no error and no file outside tmpfs.
type Secret struct {
	Environment map[string]string `json:"environment,omitempty"` // config vars
	SlugURL     string            `json:"slug_url,omitempty"`
	Username    string            `json:"username,omitempty"` // of the image's registry
	Password    string            `json:"password,omitempty"`
	LogSinks    []LogSink         `json:"log_sinks,omitempty"`

	RendezvousURL string `json:"rendezvous_url,omitempty"` // where an attached dyno's client waits, if not for AttachDyno

	// Gone says that the values were lost with the host's memory.
	Gone bool `json:"-"`
}

// Same says whether two orders ask for the same dyno: they came alike, whatever the defaults were then, or they mean the
// same. Values that are gone are not compared.
func (s Spec) Same(other Spec) bool {
	if s.Secret.Gone || other.Secret.Gone {
		s.Secret, other.Secret = Secret{}, Secret{}
	}
	if s.Given != "" && s.Given == other.Given {
		return reflect.DeepEqual(s.Secret, other.Secret)
	}
	s.Given, other.Given = "", ""
	return reflect.DeepEqual(s, other)
}

// given is the digest of an order as it came.
func (s Spec) given() string {
	text, _ := json.Marshal(s) // it holds nothing that JSON could not
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// Shown is the command as the log shows it: with $PORT substituted.
func (c Command) Shown(port string) string {
	line := c.Line
	if line == "" {
		line = strings.Join(c.Words, " ")
	}
	return strings.NewReplacer("${PORT}", port, "$PORT", port).Replace(line)
}
