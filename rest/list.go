package rest

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"ingot/kit/sql"
	"ingot/rest/access"
	"ingot/rest/row"
)

func (r *Resource[T]) labelled() bool {
	_, ok := any(new(T)).(row.WithLabels)
	return ok
}

// orders are what the list can be sorted by, "name" or "name:column".
func (r *Resource[T]) orders() []string {
	return slices.DeleteFunc(append([]string{"created_at", "updated_at"}, r.Orders...),
		func(o string) bool { return slices.Contains(r.Refuse, o) })
}

func (r *Resource[T]) list(c *Call) error {
	return r.List(c, func(q *bun.SelectQuery) *bun.SelectQuery { return q })
}

// List answers a page of the rows that the caller sees, that meet the request's filters and that narrow lets through.
// It is for lists below other nouns that no Sub can say.
func (r *Resource[T]) List(c *Call, narrow func(*bun.SelectQuery) *bun.SelectQuery) error {
	return r.ListOf(c, r.Visible, narrow)
}

// ListOf is List where another rule says who sees what.
func (r *Resource[T]) ListOf(c *Call, visible access.Scope, narrow func(*bun.SelectQuery) *bun.SelectQuery) error {
	if w := watchOf(c.Ctx()); w != nil {
		w.Query = r.declared()
	}
	q, sel, err := r.parseList(c, narrow(c.DB().NewSelect().Model((*T)(nil))))
	if err != nil {
		return err
	}
	c.query = q
	rows, total, err := r.page(c, q, sel, visible)
	if err != nil {
		return err
	}
	out, err := r.Present(c, rows)
	if err != nil {
		return err
	}
	inc, err := r.includes(c, rows)
	if err != nil {
		return err
	}
	doc := Object{"pagination": c.pagination(q, total), "resources": out}
	if inc != nil {
		doc["included"] = inc
	}
	return c.JSON(http.StatusOK, doc)
}

// walkAbove is how many rows somebody must see of a list so that it is read in its order (access.Caller.Walk). Fewer are
// gathered and sorted sooner than they are met among all rows.
const walkAbove = 1000

// page reads one page of the rows that sel finds and that the caller sees, and tells how many they are in all.
func (r *Resource[T]) page(c *Call, q *query, sel *bun.SelectQuery, visible access.Scope) (rows []*T, total int, err error) {
	skip := (q.page - 1) * q.perPage
	who := c.Caller
	who.List = true
	if total, err = visible.Count(c.Ctx(), who, c.DB(), sel); err != nil || total <= skip {
		return nil, total, err
	}
	in := order{columns: append(strings.Fields(cmp.Or(q.column, r.Order)), "id"), desc: q.desc}
	who.Walk = total > walkAbove && r.s.DB.Engine == sql.SQLite
	var paged *bun.SelectQuery
	if few := visible.Unite(who, sel, in.columns); few != nil && total <= walkAbove {
		paged = c.DB().NewSelect().Model((*T)(nil)).
			Where("id IN (SELECT id FROM (? ORDER BY ? LIMIT ? OFFSET ?) AS found)", few, in, q.perPage, skip)
	} else {
		paged = visible.Narrow(who, sel).Limit(int64(q.perPage)).Offset(int64(skip))
	}
	if err := paged.OrderExpr("?", in).Scan(c.Ctx(), &rows); err != nil {
		return nil, 0, err
	}
	if n := len(rows); n < q.perPage { // the last page, whatever came or went since the count
		total = skip + n
	}
	return rows, total, nil
}

// order is the order of a list, as SQL.
type order struct {
	columns []string
	desc    bool
}

// AppendQuery writes what follows ORDER BY.
func (o order) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	for i, column := range o.columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		if b = gen.AppendIdent(b, column); o.desc {
			b = append(b, " DESC"...)
		}
	}
	return b, nil
}

func (r *Resource[T]) parseList(c *Call, sel *bun.SelectQuery) (*query, *bun.SelectQuery, error) {
	ps, err := parseParams(c.R)
	if err != nil {
		return nil, nil, err
	}
	q := &query{page: 1, perPage: 50}
	var bad faultsOf
	bad.unknown(ps, names(r.declared()))
	for _, p := range ps {
		switch p.name {
		case "page", "per_page":
			q.paging(p, &bad)
			continue
		case "order_by":
			q.orderBy(p, r.orders(), &bad)
			continue
		case "include", "fields":
			q.include(r.s.Includes, r.Kind, p, &bad)
		case "created_ats", "updated_ats":
			sel = r.times(sel, p, &bad)
		case "guids":
			if p.op != "" {
				bad.add("Guids must be an array")
			}
			sel = sel.Where("guid IN (?)", bun.List(p.list()))
		case "label_selector":
			sel = selectLabels(sel, p.text, &bad)
		default:
			if sel, err = r.filter(c, sel, p, &bad); err != nil {
				return nil, nil, err
			}
		}
		q.params = append(q.params, p)
	}
	return q, sel, r.queryFault(bad)
}

func (r *Resource[T]) queryFault(bad faultsOf) error {
	if r.Unprocessable && bad != nil {
		return Unprocessable("%s", strings.Join(bad, ", "))
	}
	return bad.err()
}

// showQuery reads the query of a get: only nouns that include something take one.
func (r *Resource[T]) showQuery(c *Call) (*query, error) {
	q := &query{}
	valid := names(r.shown())
	if valid == nil {
		return q, nil
	}
	ps, err := parseParams(c.R)
	if err != nil {
		return nil, err
	}
	var bad faultsOf
	bad.unknown(ps, valid)
	for _, p := range ps {
		i := slices.IndexFunc(r.Filters, func(f Filter) bool { return f.Shown && f.Param == p.name })
		if i < 0 {
			q.include(r.s.Includes, r.Kind, p, &bad)
		} else if wrong := r.Filters[i].Check(p.list()); wrong != "" {
			bad.add("%s", wrong)
		}
	}
	return q, r.queryFault(bad)
}

// pagination is the head of a list, with absolute links to its own path.
func (c *Call) pagination(q *query, total int) Object {
	last := max(1, (total+q.perPage-1)/q.perPage)
	values := q.values()
	link := func(page int) Object {
		values.Set("page", strconv.Itoa(page))
		return Object{"href": c.s.URL + (&url.URL{Path: c.R.URL.Path}).EscapedPath() + "?" + values.Encode()}
	}
	o := Object{"total_results": total, "total_pages": last, "first": link(1), "last": link(last), "next": nil, "previous": nil}
	if q.page < last {
		o["next"] = link(q.page + 1)
	}
	if q.page > 1 {
		o["previous"] = link(q.page - 1)
	}
	return o
}
