package run

import (
	"io"
	"sync"
)

// Gate tells an outside test which step was reached and waits for its word to go on. A nil *Gate does nothing.
type Gate struct {
	mu sync.Mutex
	rw io.ReadWriter
}

// NewGate makes a gate of a two-way stream, such as one end of a socket pair.
func NewGate(rw io.ReadWriter) *Gate { return &Gate{rw: rw} }

// Step writes name and a newline, then waits for one byte. It is called after the step's commit. A broken stream opens
// the gate for good.
func (g *Gate) Step(name string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rw == nil {
		return
	}
	var b [1]byte
	if _, err := io.WriteString(g.rw, name+"\n"); err != nil {
		g.rw = nil
	} else if _, err := io.ReadFull(g.rw, b[:]); err != nil {
		g.rw = nil
	}
}
