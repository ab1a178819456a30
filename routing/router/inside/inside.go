// Package inside joins two parts of this process by connections in memory, so that one speaks to the other as to a peer.
//
// It promises that a listener's Accept sees each connection once, and that nothing waits after Close.
// It will not buffer: a write ends when the other side has read it.
package inside

import (
	"net"
	"sync"
)

// Listener is a net.Listener without a network. Make one with Listen.
type Listener struct {
	name  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Listen makes a listener; name is what its address says.
func Listen(name string) *Listener {
	return &Listener{name: name, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Give hands a connection to Accept. net.ErrClosed: the listener is closed, and the connection is still the caller's.
func (l *Listener) Give(c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		return net.ErrClosed
	}
}

// Dial connects to the listener.
func (l *Listener) Dial() (net.Conn, error) {
	near, far := net.Pipe()
	if err := l.Give(far); err != nil {
		return nil, err
	}
	return near, nil
}

// Accept gives the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is nowhere.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.name} }
