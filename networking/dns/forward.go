package dns

import (
	"strings"
	"time"

	wire "github.com/miekg/dns"
)

// forwarder asks the servers that the host had before.
type forwarder struct {
	upstreams []string
	timeout   time.Duration
	slots     chan struct{}
}

// forward gives the first answer of an upstream, SERVFAIL when none answers: then the resolver that asked goes to the
// next server of its list.
func (f *forwarder) forward(q *wire.Msg, tcp bool) *wire.Msg {
	failed := new(wire.Msg).SetRcode(q, wire.RcodeServerFailure)
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return failed
	}
	up := q.Copy()
	var last *wire.Msg
	for _, server := range f.upstreams {
		up.Id = wire.Id() // not the one that whoever asked has chosen
		a, err := f.exchange(up, server, tcp)
		if err != nil || len(a.Question) != 1 || a.Question[0].Qtype != q.Question[0].Qtype ||
			!strings.EqualFold(a.Question[0].Name, q.Question[0].Name) {
			continue
		}
		a.Id = q.Id
		if last = a; a.Rcode != wire.RcodeServerFailure && a.Rcode != wire.RcodeRefused {
			break
		}
	}
	if last == nil {
		return failed
	}
	return last
}

func (f *forwarder) exchange(q *wire.Msg, server string, tcp bool) (*wire.Msg, error) {
	c := wire.Client{Timeout: f.timeout, UDPSize: wire.MaxMsgSize}
	if tcp {
		c.Net = "tcp"
	}
	a, _, err := c.Exchange(q, server)
	return a, err
}
