package state_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/state"
)

const id = "6b1f7a52-7a3e-4c8e-9f4e-0d3c7a1b2c3d"

// open makes a store whose secrets lie on tmpfs, as they must.
func open(t *testing.T) (store *state.Store, records, secrets string) {
	t.Helper()
	secrets, err := os.MkdirTemp("/dev/shm", "dynod-state-") //nolint:usetesting // must lie on tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(secrets) })
	records = t.TempDir()
	store, err = state.Open(records, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return store, records, secrets
}

func record() dyno.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	r := dyno.New(id, 7, 3, "boot", dyno.Spec{
		App: "shop", Name: "web.1", Limits: dyno.Limits{Memory: 1 << 29},
		Secret: dyno.Secret{Environment: map[string]string{"TOKEN": "s3cr3t-value"}, SlugURL: "https://x/?sig=s3cr3t-url"},
	}, at)
	r.Exit = &dyno.Exit{Code: 143, At: at}
	return r
}

func TestWhatIsAddedIsLoaded(t *testing.T) {
	store, records, _ := open(t)
	if err := store.Add(record()); err != nil {
		t.Fatal(err)
	}
	got, err := store.Load()
	if err != nil || len(got) != 1 || got[0].Err != nil {
		t.Fatalf("%+v %v", got, err)
	}
	if diff := cmp.Diff(state.Entry{ID: id, Record: record(), Secret: true}, got[0]); diff != "" {
		t.Error(diff)
	}
	onDisk, err := os.ReadFile(filepath.Join(records, id+".json"))
	if err != nil || strings.Contains(string(onDisk), "s3cr3t") {
		t.Errorf("the record shows a secret, or: %v", err)
	}
	for range 2 {
		if err := store.Remove(id); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if got, _ := store.Load(); len(got) != 0 {
		t.Errorf("left after Remove: %+v", got)
	}
}

func TestANoteIsNewerUntilReboot(t *testing.T) {
	store, records, secrets := open(t)
	phase := func() dyno.Phase {
		got, err := store.Load()
		if err != nil || len(got) != 1 || got[0].Err != nil || !got[0].Secret {
			t.Fatalf("%+v %v", got, err)
		}
		return got[0].Record.Phase
	}
	old, noted, saved := record(), record(), record()
	noted.Revision, noted.Phase = 1, dyno.Up
	saved.Revision, saved.Phase = 2, dyno.Stopping
	if err := errors.Join(store.Add(old), store.Note(noted)); err != nil || phase() != dyno.Up {
		t.Errorf("after a note: %s %v", phase(), err)
	}
	onDisk, err := os.ReadFile(filepath.Join(records, id+".json"))
	if err != nil || !strings.Contains(string(onDisk), `"starting"`) {
		t.Errorf("the note is on disk: %s %v", onDisk, err)
	}
	if err := store.Save(saved); err != nil || phase() != dyno.Stopping {
		t.Errorf("saved after a note: %s %v", phase(), err)
	}
	noted.Revision = 3
	if err := errors.Join(store.Note(noted), store.Add(old)); err != nil || phase() != dyno.Starting {
		t.Errorf("a new generation has the old one's note: %s %v", phase(), err)
	}
	if err := errors.Join(store.Note(noted), store.Remove(id)); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(secrets); len(left) != 0 {
		t.Errorf("left after Remove: %v", left)
	}
}

func TestRefusedGenerationLeavesTheOldRecord(t *testing.T) {
	store, _, _ := open(t)
	next := record()
	next.Generation++
	next.Since = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // cannot be written
	if err := store.Add(record()); err != nil {
		t.Fatal(err)
	}
	if err := store.Add(next); err == nil {
		t.Error("no error")
	}
	if got, err := store.Load(); err != nil || len(got) != 1 || got[0].Err != nil || got[0].Record.Generation != record().Generation {
		t.Errorf("%+v %v", got, err)
	}
}

func TestSyncsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := 0, make(chan struct{})
		do := state.Shared(func() error {
			begun++
			<-goOn
			return errors.New(strconv.Itoa(begun))
		})
		said := make(chan string, 11)
		ask := func() { said <- do().Error() }
		go ask()
		synctest.Wait()
		for range 10 {
			go ask()
		}
		synctest.Wait()
		close(goOn)
		if first := <-said; first != "1" {
			t.Errorf("the first was told of sync %s", first)
		}
		for range 10 {
			if other := <-said; other != "2" {
				t.Errorf("one that came during the first was told of sync %s", other)
			}
		}
	})
}

func TestSecretsAreGoneAfterReboot(t *testing.T) {
	store, _, secrets := open(t)
	if err := store.Add(record()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(secrets, id+".json")); err != nil {
		t.Fatal(err)
	}
	got, err := store.Load()
	if err != nil || got[0].Secret || !got[0].Record.Spec.Secret.Gone {
		t.Errorf("%+v %v", got, err)
	}
	if !got[0].Record.Spec.Same(record().Spec) {
		t.Error("the same order is not known again")
	}
	next := record()
	next.Generation++
	if err := errors.Join(store.Add(next), store.Add(got[0].Record)); err != nil { // as after a refusal
		t.Fatal(err)
	}
	if again, err := store.Load(); err != nil || !again[0].Record.Spec.Secret.Gone {
		t.Errorf("%+v %v", again, err)
	}
}

func TestUnreadableRecordsAreToldAndKept(t *testing.T) {
	for name, content := range map[string]string{
		"cut": `{"version":1,"id":"` + id, "not json": "\x00\x01",
		"newer":    `{"version":2,"id":"` + id + `","generation":1,"phase":"up"}`,
		"other id": `{"version":1,"id":"x","generation":1,"phase":"up"}`, "no phase": `{"version":1,"id":"` + id + `","generation":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			store, records, _ := open(t)
			path := filepath.Join(records, id+".json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := store.Load()
			if err != nil || len(got) != 1 || got[0].Err == nil || got[0].ID != id {
				t.Errorf("%+v %v", got, err)
			}
			if after, _ := os.ReadFile(path); string(after) != content {
				t.Error("the file was changed")
			}
		})
	}
}

// A host that goes down while an order is made durable may leave the name of its record alone, or zeros.
func TestBlankRecordsAreRemoved(t *testing.T) {
	for _, content := range []string{"", "\x00\x00\x00"} {
		store, records, _ := open(t)
		if err := store.Add(record()); err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(records, "other.json")
		if err := os.WriteFile(other, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Load(); err != nil || len(got) != 1 || got[0].ID != id {
			t.Errorf("%q: %+v %v", content, got, err)
		}
		if _, err := os.Lstat(other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: the file is there: %v", content, err)
		}
	}
}

func TestHalfWrittenFilesAreSwept(t *testing.T) {
	store, records, secrets := open(t)
	if err := store.Add(record()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(records, "."+id+".json123"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(records, secrets); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(records); err != nil || len(left) != 1 || left[0].Name() != id+".json" {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestSecretsGoWithTheirRecord has a Remove that was killed half-way.
func TestSecretsGoWithTheirRecord(t *testing.T) {
	store, records, secrets := open(t)
	if err := errors.Join(store.Add(record()), store.Note(record())); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		if _, err := state.Open(records, secrets); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(secrets); err != nil || len(left) != want {
			t.Errorf("beside the record: %v %v, want %d", left, err, want)
		}
		_ = os.Remove(filepath.Join(records, id+".json"))
	}
}

func TestSecretsMustLieOnTmpfs(t *testing.T) {
	_, err := state.Open(t.TempDir(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "not on tmpfs") {
		t.Errorf("got %v", err)
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	store, records, secrets := open(t)
	if err := store.Add(record()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{records, secrets} {
		info, err := os.Stat(filepath.Join(dir, id+".json"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	}
}

func TestCordon(t *testing.T) {
	store, records, secrets := open(t)
	for _, reason := range []string{"", "kernel update"} {
		if err := store.SetCordon(reason); err != nil {
			t.Fatal(err)
		}
		again, err := state.Open(records, secrets)
		if err != nil {
			t.Fatal(err)
		}
		if got, cordoned, err := again.Cordon(); got != reason || !cordoned || err != nil {
			t.Errorf("%q %v %v", got, cordoned, err)
		}
	}
	for range 2 {
		if err := store.ClearCordon(); err != nil {
			t.Error(err)
		}
	}
	if _, cordoned, err := store.Cordon(); cordoned || err != nil {
		t.Errorf("%v %v", cordoned, err)
	}
}
