package table

import (
	"slices"
	"strings"
)

// Lookup finds the pool for a request: its Host as sent (any case, with or without a port) and its raw path. An exact
// host goes before wildcards, a longer wildcard before a shorter, a longer context path before a shorter one. Paths
// match by whole segments and without regard to case, as gorouter's do. Nil: no such route. A pool may be empty.
func (t *Table) Lookup(hostport, path string) *Pool {
	var room [255]byte
	name, ok := normal(room[:0], hostport)
	if !ok {
		return nil
	}
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	for {
		if h := t.hosts[hash(name)>>58].get(name); h != nil {
			if p := h.match(path); p != nil {
				return p
			}
		}
		// The next wildcard: "a.b.c" -> ".b.c" -> ".c".
		i := slices.Index(name[1:], '.')
		if i < 0 {
			return nil
		}
		name = name[1+i:]
	}
}

// normal writes the host without port and final dot, in lower case.
func normal(b []byte, hostport string) ([]byte, bool) {
	h := hostport
	if i := strings.LastIndexByte(h, ':'); i >= 0 && strings.IndexByte(h[i:], ']') < 0 {
		h = h[:i]
	}
	h = strings.TrimSuffix(h, ".")
	if h == "" || len(h) > cap(b) || h[0] == '.' {
		return nil, false
	}
	for i := range len(h) {
		b = append(b, lower(h[i]))
	}
	return b, true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// split makes the table's host and path of a URI of a message. A wildcard *.a.b is kept as .a.b .
func split(uri string) (name, path string) {
	name, path, ok := strings.Cut(uri, "/")
	if ok {
		if i := strings.IndexByte(path, '?'); i >= 0 {
			path = path[:i]
		}
		path = strings.ToLower(strings.TrimRight(path, "/"))
		if path != "" {
			path = "/" + path
		}
	}
	wild := strings.HasPrefix(name, "*.")
	if wild {
		name = name[2:]
	}
	var room [255]byte
	b, ok := normal(room[:0], name)
	if !ok {
		return "", ""
	}
	if wild {
		return "." + string(b), path
	}
	return string(b), path
}

// match finds the longest context path that leads path.
func (h *host) match(path string) *Pool {
	for _, p := range h.subs() {
		lead := *p.path
		if len(path) >= len(lead) && (len(path) == len(lead) || path[len(lead)] == '/') && strings.EqualFold(path[:len(lead)], lead) {
			return p
		}
	}
	return h.top()
}

// top is the pool of the name without a path, if there is one.
func (h *host) top() *Pool {
	if h.root.known.Load() {
		return &h.root
	}
	return nil
}

// find gives the pool of exactly that path.
func (h *host) find(path string) *Pool {
	if path == "" {
		return h.top()
	}
	for _, p := range h.subs() {
		if *p.path == path {
			return p
		}
	}
	return nil
}

func (h *host) subs() []*Pool {
	if s := h.sub.Load(); s != nil {
		return *s
	}
	return nil
}

func (h *host) pools() []*Pool {
	if p := h.top(); p != nil {
		return append([]*Pool{p}, h.subs()...)
	}
	return h.subs()
}

// setSub publishes a new list, longest first.
func (h *host) setSub(list []*Pool) {
	if len(list) == 0 {
		h.sub.Store(nil)
		return
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *Pool) int { return len(*b.path) - len(*a.path) })
	h.sub.Store(&list)
}
