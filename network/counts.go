package network

// Counts are numbers of what there is, and of what Run has mended since New.
type Counts struct {
	Ahead     int // networks that Prepare made and nobody has taken yet
	Broken    int // dynos whose network cannot be mended at present
	Obstacles int // chains of others that drop packets of dynos

	MendedTables, MendedDynos uint64
}

// Counts asks nobody.
func (n *Network) Counts() Counts {
	ahead := n.spares.count()
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	return Counts{
		Ahead: ahead, Broken: len(n.health.broken), Obstacles: len(n.health.obstacles),
		MendedTables: n.health.mendedTables.Load(), MendedDynos: n.health.mendedDynos.Load(),
	}
}
