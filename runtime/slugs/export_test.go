package slugs

import "archive/tar"

// Accept is what the rules say of entries where there is room for so many files and directories.
func Accept(room int, entries ...tar.Header) error {
	r := &rules{room: room, dirs: map[string]bool{}}
	for _, h := range entries {
		if _, err := r.accept(&h); err != nil {
			return err
		}
	}
	return nil
}
