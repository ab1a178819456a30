package rest

import (
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/rest/row"
)

// Include is one thing that answers of a noun can carry besides: ?include=space, or ?fields[space]=guid,name. Those
// of one ?include= word come together.
type Include struct {
	Of    string // kind of the noun whose answers carry it
	Param string // "space", "space.organization"
	Kind  string // kind of what is carried
	Key   string // under "included": "spaces"
	// Where finds the carried rows; its ? are the guids of the answer's rows:
	// "guid IN (SELECT space_guid FROM capi_apps WHERE guid IN (?))".
	Where string
	// Fields are the keys that may be asked for; then the parameter is fields[Param] instead of include.
	Fields []string
}

func (i Include) param() string {
	if i.Fields != nil {
		return "fields"
	}
	return "include"
}

// include reads include=a,b or fields[a]=x,y.
func (q *query) include(all []Include, kind string, p param, bad *faultsOf) {
	var valid []string
	known := map[string][]*Include{}
	for i := range all {
		if all[i].Of == kind && all[i].param() == p.name {
			known[all[i].Param] = append(known[all[i].Param], &all[i])
			if !slices.Contains(valid, all[i].Param) {
				valid = append(valid, all[i].Param)
			}
		}
	}
	if p.name == "fields" {
		q.field(known, valid, p, bad)
		return
	}
	for _, name := range p.list() {
		inc := known[name]
		switch {
		case inc == nil:
			bad.add("Invalid included resource: '%s'. Valid included resources are: '%s'", name, strings.Join(valid, "', '"))
		case slices.Contains(q.includes, inc[0]):
			bad.add("Duplicate included resource: '%s'", name)
		default:
			q.includes = append(q.includes, inc...)
		}
	}
}

func (q *query) field(known map[string][]*Include, valid []string, p param, bad *faultsOf) {
	if known[p.op] == nil {
		bad.add("Fields [%s] valid resources are: '%s'", p.op, strings.Join(valid, "', '"))
		return
	}
	inc := known[p.op][0]
	keys := p.list()
	for _, k := range keys {
		if !slices.Contains(inc.Fields, k) {
			bad.add("Fields valid keys for '%s' are: '%s'", p.op, strings.Join(inc.Fields, "', '"))
			return
		}
	}
	if q.fields == nil {
		q.fields = map[*Include][]string{}
	}
	q.includes, q.fields[inc] = append(q.includes, inc), keys
}

// includes makes the "included" part of an answer; nil when none was asked for.
func (r *Resource[T]) includes(c *Call, rows []*T) (Object, error) {
	if c.query == nil || len(c.query.includes) == 0 {
		return nil, nil
	}
	guids := make([]string, len(rows))
	for i, v := range rows {
		guids[i] = any(v).(row.Noun).Base().GUID
	}
	out := Object{}
	for _, inc := range c.query.includes {
		objects := []Object{}
		if n := r.s.nouns[inc.Kind]; n != nil && len(guids) > 0 {
			var err error
			if objects, err = n.included(c, inc.Where, guids); err != nil {
				return nil, err
			}
		}
		if keys, ok := c.query.fields[inc]; ok {
			for i := range objects {
				objects[i] = pick(objects[i], keys)
			}
		}
		if before, ok := out[inc.Key].([]Object); ok {
			objects = unite(before, objects)
		}
		out[inc.Key] = objects
	}
	return out, nil
}

func (r *Resource[T]) included(c *Call, where string, guids []string) ([]Object, error) {
	var rows []*T
	q := r.Visible.Narrow(c.Caller, c.DB().NewSelect().Model(&rows).Where(where, bun.List(guids))).OrderExpr("id")
	if err := q.Scan(c.Ctx()); err != nil {
		return nil, err
	}
	return r.Present(c, rows)
}

// unite joins two lists of objects, each guid once.
func unite(a, b []Object) []Object {
	for _, o := range b {
		if !slices.ContainsFunc(a, func(x Object) bool { return x["guid"] == o["guid"] }) {
			a = append(a, o)
		}
	}
	return a
}

// pick keeps the keys of an object; a.b keeps b inside a.
func pick(o Object, keys []string) Object {
	out := Object{}
	for _, k := range keys {
		head, rest, nested := strings.Cut(k, ".")
		v, ok := o[head]
		if !ok {
			continue
		}
		inner, isObject := v.(Object)
		if !nested || !isObject {
			out[head] = v
			continue
		}
		before, _ := out[head].(Object)
		if before == nil {
			before = Object{}
		}
		for kk, vv := range pick(inner, []string{rest}) {
			before[kk] = vv
		}
		out[head] = before
	}
	return out
}
