package runtime

import (
	"os"
	"sync"

	"github.com/dynod/dynod/runtime/rootfs"
	"github.com/dynod/dynod/runtime/spec"
)

// mostMappings bounds what is kept, as the kernel bounds user namespaces. One beyond goes with its use.
const mostMappings = 1024

// mappings are the user namespaces by which mounts show a slot's ids. One is kept for the slot's next dynos: Go forks with all
// its memory to make one, which takes 3 ms of CPU.
type mappings struct {
	mu     sync.Mutex
	bySlot map[int]*os.File
}

// Prime makes ahead for a slot what the kernel needs and no order changes. Create does it where nobody has.
func (r *Runtime) Prime(slot int) error {
	_, err := r.mapping(slot)
	return err
}

// mapping is the user namespace of a slot, nil where dynos have none. It is not the caller's to close.
func (r *Runtime) mapping(slot int) (*os.File, error) {
	if !r.config.mapped() {
		return nil, nil
	}
	m := &r.mappings
	if users := m.get(slot); users != nil {
		return users, nil
	}
	users, err := rootfs.Users(r.firstID(slot), spec.IDs)
	if err != nil {
		return nil, err
	}
	return m.put(slot, users), nil
}

func (m *mappings) get(slot int) *os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bySlot[slot]
}

// put keeps the first of a slot.
func (m *mappings) put(slot int, users *os.File) *os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first := m.bySlot[slot]; first != nil {
		_ = users.Close()
		return first
	}
	if len(m.bySlot) < mostMappings {
		m.bySlot[slot] = users
	}
	return users
}

func (m *mappings) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, users := range m.bySlot {
		_ = users.Close()
	}
	clear(m.bySlot)
}
