package agent

import (
	"io"
	"time"
)

// readAhead is how much of a client's input may wait for its command, bytes.
const readAhead = 1 << 20

// feed writes what a client sends, and returns at its end. It reads ahead, so that the end is seen behind what the
// command does not take yet; what is not taken a moment later is lost. What the command takes no more is thrown away.
func feed(command io.Writer, client io.Reader) {
	in, out, fed := make(chan []byte), make(chan []byte), make(chan struct{})
	go receive(client, in)
	go func() {
		defer close(fed)
		for p := range out {
			_, _ = command.Write(p)
		}
	}()
	left := pass(in, out)
	go func() {
		defer close(out)
		out <- left
	}()
	select {
	case <-fed:
	case <-time.After(linger):
	}
}

func receive(client io.Reader, in chan<- []byte) {
	defer close(in)
	for {
		p := make([]byte, 4<<10)
		n, err := client.Read(p)
		in <- p[:n]
		if err != nil {
			return
		}
	}
}

// pass hands on what comes when it is taken, and gives what is left at the end.
func pass(in <-chan []byte, out chan<- []byte) (waiting []byte) {
	for {
		take, give := in, out
		if len(waiting) >= readAhead {
			take = nil
		}
		if len(waiting) == 0 {
			give = nil
		}
		select {
		case p, more := <-take:
			if !more {
				return waiting
			}
			waiting = append(waiting, p...)
		case give <- waiting:
			waiting = nil
		}
	}
}
