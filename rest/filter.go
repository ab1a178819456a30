package rest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"ingot/kit/sql"
	"ingot/rest/access"
)

// Filter is one query parameter of a list.
type Filter struct {
	Param string
	// Where is the condition; its ? is the list of values: "space_guid IN (?)", or a sub-select
	// "guid IN (SELECT app_guid FROM ... WHERE ... IN (?))".
	Where  string
	Fold   bool   // names compare in lower case
	Null   string // condition that the empty value stands for: "stack IS NULL"
	Not    string // condition of param[not]=
	One    bool   // takes one value, not a list; Where's ? is then that value
	Bool   bool   // takes true or false; Where's ? is then that
	Number bool   // the column holds whole numbers; a value that is none, or too large, finds nothing
	Shown  bool   // a get of one object takes it as well: it narrows nothing, Fill looks at it, and it has a Check
	// Check says what is wrong with the values, or "".
	Check func(values []string) string
	// By stands for Where if SQL text does not suffice; v is as given.
	By func(c *Call, q *bun.SelectQuery, v []string) (*bun.SelectQuery, error)
}

// filter applies a declared parameter.
func (r *Resource[T]) filter(c *Call, sel *bun.SelectQuery, p param, bad *faultsOf) (*bun.SelectQuery, error) {
	i := slices.IndexFunc(r.Filters, func(f Filter) bool { return f.Param == p.name })
	if i < 0 {
		return sel, nil // named among the unknown
	}
	f := r.Filters[i]
	where, values := f.Where, p.list()
	switch {
	case p.op == "not" && f.Not != "":
		where = f.Not
	case p.op != "":
		if f.Not != "" {
			bad.add("%s %s has an invalid operator", Humanize(p.name), p.name)
		} else {
			bad.add("%s must be an array", Humanize(p.name))
		}
		return sel, nil
	case f.One || f.Bool:
		values = []string{p.text}
	}
	if f.Check != nil {
		if fault := f.Check(values); fault != "" {
			bad.add("%s", fault)
			return sel, nil
		}
	}
	if f.Bool && p.text != "true" && p.text != "false" {
		bad.add("%s must be 'true' or 'false'", Humanize(p.name))
		return sel, nil
	}
	if f.Fold {
		for i := range values {
			values[i] = access.Fold(values[i])
		}
	}
	switch {
	case f.By != nil:
		return f.By(c, sel, values)
	case f.Number:
		return sel.Where(where, bun.List(integers(values))), nil
	case f.Bool:
		return sel.Where(where, p.text == "true"), nil
	case f.One:
		return sel.Where(where, values[0]), nil
	case f.Null != "" && slices.Contains(values, ""):
		return sel.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where(where, bun.List(values)).WhereOr(f.Null)
		}), nil
	}
	return sel.Where(where, bun.List(values)), nil
}

func integers(values []string) []int64 {
	out := []int64{}
	for _, v := range values {
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// OneOf makes a Check that allows only these values.
func OneOf(param string, allowed ...string) func([]string) string {
	return func(values []string) string {
		for _, v := range values {
			if !slices.Contains(allowed, v) {
				return fmt.Sprintf("%s must be one of ['%s']", Humanize(param), strings.Join(allowed, "', '"))
			}
		}
		return ""
	}
}

var timestamp = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$`)

// times applies created_ats and updated_ats: a list of seconds, or one bound with gt, gte, lt, lte.
func (r *Resource[T]) times(sel *bun.SelectQuery, p param, bad *faultsOf) *bun.SelectQuery {
	words, column := Humanize(p.name), bun.Ident(strings.TrimSuffix(p.name, "s"))
	if slices.Contains(r.Refuse, p.name) {
		bad.add("Filtering by '%s' is not allowed on this resource.", p.name)
		return sel
	}
	ops := map[string]string{"": "", "lt": "? < ?", "lte": "? < ?", "gt": "? >= ?", "gte": "? >= ?"}
	cond, ok := ops[p.op]
	if !ok {
		bad.add("%s Invalid relational operator: '%s'", words, p.op)
		return sel
	}
	if p.op != "" && strings.Contains(p.text, ",") {
		bad.add("%s only accepts one value when using a relational operator", words)
		return sel
	}
	var at []time.Time
	for _, s := range p.list() {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil || !timestamp.MatchString(s) {
			bad.add("%s has an invalid timestamp format. Timestamps should be formatted as 'YYYY-MM-DDThh:mm:ssZ'", words)
			return sel
		}
		at = append(at, t)
	}
	switch p.op {
	case "lt", "gte":
		return sel.Where(cond, column, sql.At(at[0]))
	case "lte", "gt": // the whole second counts as the moment
		return sel.Where(cond, column, sql.At(at[0].Add(time.Second)))
	}
	return sel.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		for _, t := range at {
			q = q.WhereOr("? >= ? AND ? < ?", column, sql.At(t), column, sql.At(t.Add(time.Second)))
		}
		return q
	})
}
