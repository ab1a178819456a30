package rest

import (
	"slices"
	"strings"
)

// Act is what an endpoint of a noun does.
type Act string

// The endpoints that a row makes. A plain handler has none.
const (
	Lists   Act = "list"
	Shows   Act = "show"
	Creates Act = "create"
	Updates Act = "update"
	Deletes Act = "delete"
)

// Endpoint is what is answered at one pattern, as its row or its route declares it.
type Endpoint struct {
	Method, Path string
	Noun         string // its kind; "" for a plain handler
	Act          Act    // "" for a plain handler
	Below        string // kind of the noun above, for a list below it
	Open         bool   // needs no token
	Job          bool   // a deletion that answers 202 and a job
	BadQuery     int    // status of a bad query: 400 or 422
	Maturity     string // beta, alpha
	Query        []Parameter
}

// Parameter is one that a query may have.
type Parameter struct {
	Name   string   // "names", "fields[space]"
	Type   string   // number, order, times, list, text, boolean, selector, include, fields; refused = known, but never taken
	Values []string // all that there are; nil = any
	Not    bool     // takes name[not] as well
}

// Endpoints are all that are served, in order of path and method. Start comes first.
func (s *Server) Endpoints() []Endpoint {
	out := slices.Clone(s.endpoints)
	slices.SortFunc(out, func(a, b Endpoint) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return out
}

// endpoint describes a route.
func (r Route) endpoint() Endpoint {
	e := r.about
	e.Method, e.Path, _ = strings.Cut(strings.TrimSuffix(r.Pattern, "{$}"), " ")
	e.Open = r.Open
	if e.Maturity = r.Maturity; e.Maturity == "" {
		e.Maturity = "beta"
	}
	return e
}

// about describes the endpoint of a row.
func (r *Resource[T]) about(act Act, below string) Endpoint {
	e := Endpoint{Noun: r.Kind, Act: act, Below: below, BadQuery: 400, Job: act == Deletes && r.Remove != nil}
	if r.Unprocessable {
		e.BadQuery = 422
	}
	switch act {
	case Lists:
		e.Query = r.declared()
	case Shows:
		e.Query = r.shown()
	}
	return e
}

// declared are the parameters of the noun's list, in CF's order.
func (r *Resource[T]) declared() []Parameter {
	order := Parameter{Name: "order_by", Type: "order"}
	for _, o := range r.orders() {
		name, _, _ := strings.Cut(o, ":")
		order.Values = append(order.Values, name)
	}
	out := []Parameter{{Name: "page", Type: "number"}, {Name: "per_page", Type: "number"}, order}
	for _, name := range []string{"created_ats", "updated_ats"} {
		p := Parameter{Name: name, Type: "times"}
		if slices.Contains(r.Refuse, name) {
			p.Type = "refused"
		}
		out = append(out, p)
	}
	out = append(out, Parameter{Name: "guids", Type: "list"})
	for _, f := range r.Filters {
		p := Parameter{Name: f.Param, Type: "list", Not: f.Not != ""}
		switch {
		case f.Bool:
			p.Type = "boolean"
		case f.One:
			p.Type = "text"
		}
		out = append(out, p)
	}
	out = append(out, r.carried()...)
	if r.labelled() {
		out = append(out, Parameter{Name: "label_selector", Type: "selector"})
	}
	return out
}

// carried are the parameters include and fields[...].
func (r *Resource[T]) carried() (out []Parameter) {
	include := Parameter{Name: "include", Type: "include"}
	for _, i := range r.s.Includes {
		switch {
		case i.Of != r.Kind:
		case i.Fields != nil:
			out = append(out, Parameter{Name: "fields[" + i.Param + "]", Type: "fields", Values: i.Fields})
		case !slices.Contains(include.Values, i.Param):
			include.Values = append(include.Values, i.Param)
		}
	}
	if include.Values != nil {
		out = append([]Parameter{include}, out...)
	}
	return out
}

// shown are the parameters of a get of one object.
func (r *Resource[T]) shown() []Parameter {
	out := r.carried()
	for _, f := range r.Filters {
		if f.Shown {
			out = append(out, Parameter{Name: f.Param, Type: "list"})
		}
	}
	return out
}

// names are those of parameters, fields[...] as fields.
func names(all []Parameter) (out []string) {
	for _, p := range all {
		if name, _, _ := strings.Cut(p.Name, "["); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
