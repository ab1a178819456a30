package emit

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"ingot/cf"
)

// registration is what the routers are told of one instance: a message for each port, protocol and set of options.
type registration struct {
	instance cf.InstanceID
	bodies   []cf.RouteMessage
	messages [][]byte // bodies as sent; the same bytes each time, so that routers know a heartbeat at once

	leaving  bool // it is being unregistered
	quiet    bool // nobody needs to hear of the answer
	marked   bool // the scheduler was told that it is routable
	serial   int  // of the question, so that late answers to an earlier one do not count
	waiting  int  // messages not answered yet
	answered []bool
	asked    time.Time
	asks     int
}

// group is what one message can carry.
type group struct {
	port     int
	protocol string
	weight   int
	options  string
}

func newRegistration(a cf.ActualLRP, d cf.DesiredLRP) *registration {
	r := &registration{instance: a.Instance}
	uris, options := map[group][]string{}, map[group]map[string]string{}
	for _, route := range d.Routes {
		o, err := json.Marshal(route.Options)
		if err != nil {
			panic("emit: a map of strings is no JSON: " + err.Error()) // cannot happen
		}
		g := group{route.Port, route.Protocol, route.Weight, string(o)}
		uris[g] = append(uris[g], route.URI)
		options[g] = route.Options
	}
	groups := slices.SortedFunc(maps.Keys(uris), func(x, y group) int {
		return cmp.Or(cmp.Compare(x.port, y.port), cmp.Compare(x.protocol, y.protocol), cmp.Compare(x.weight, y.weight), cmp.Compare(x.options, y.options))
	})
	for _, g := range groups {
		slices.Sort(uris[g])
		port := g.port
		if port == 0 && len(a.Ports) > 0 {
			port = a.Ports[0].Container
		}
		r.add(cf.RouteMessage{Host: a.Address, Port: port, Protocol: g.protocol, URIs: uris[g], App: string(a.AppID), Tags: tags(a, d),
			InstanceID: string(a.Instance), InstanceIndex: strconv.Itoa(a.Index), UpdatedNS: a.Since.UnixNano(), Options: options[g], Weight: g.weight})
	}
	return r
}

// tags go with the router's lines about the instance.
func tags(a cf.ActualLRP, d cf.DesiredLRP) map[string]string {
	t := maps.Clone(d.MetricTags)
	if t == nil {
		t = map[string]string{}
	}
	t["process_id"] = a.Process
	t["process_type"] = d.Type
	t["process_instance_id"] = string(a.Instance)
	t["instance_id"] = strconv.Itoa(a.Index)
	return t
}

func (r *registration) add(m cf.RouteMessage) {
	b, err := json.Marshal(m)
	if err != nil {
		panic("emit: a route message is no JSON: " + err.Error()) // cannot happen
	}
	r.bodies = append(r.bodies, m)
	r.messages = append(r.messages, b)
	r.expect()
}

// ask begins a new question: answers to earlier ones no longer count.
func (r *registration) ask() {
	r.serial++
	r.expect()
}

// expect waits for the answers to all messages.
func (r *registration) expect() {
	r.waiting = len(r.messages)
	r.answered = make([]bool, len(r.messages))
}

func (r *registration) same(o *registration) bool {
	return slices.EqualFunc(r.messages, o.messages, slices.Equal[[]byte])
}

// take carries on from the registration that r replaces.
func (r *registration) take(old *registration) { r.serial, r.marked = old.serial+1, old.marked }

// goodbye turns the registration into its unregistration.
func (r *registration) goodbye(quiet bool) {
	r.leaving, r.quiet, r.marked, r.asks = true, quiet, true, 0 // the scheduler may believe it is
	r.ask()
}

// answer counts one answer; true with the last.
func (r *registration) answer(part int) bool {
	if part < 0 || part >= len(r.answered) || r.answered[part] {
		return false
	}
	r.answered[part] = true
	r.waiting--
	return r.waiting == 0
}

// without gives the unregister messages for what next no longer has.
func (r *registration) without(next *registration) (out [][]byte) {
	for _, m := range r.bodies {
		m.URIs = slices.DeleteFunc(slices.Clone(m.URIs), func(u string) bool {
			return slices.ContainsFunc(next.bodies, func(n cf.RouteMessage) bool {
				return n.Host == m.Host && n.Port == m.Port && slices.Contains(n.URIs, u)
			})
		})
		if len(m.URIs) > 0 {
			b, err := json.Marshal(m)
			if err != nil {
				panic("emit: a route message is no JSON: " + err.Error()) // cannot happen
			}
			out = append(out, b)
		}
	}
	return out
}
