// Command sweep removes the labs that interrupted tests and demos have left on this machine. Labs in use stay.
package main

import (
	"log"

	"github.com/dynod/dynod/test/lab"
)

func main() {
	if err := lab.Sweep(); err != nil {
		log.Fatal(err)
	}
}
