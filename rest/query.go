package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"ingot/cf"
)

// query is the parsed query of a request: paging, order, and the values of each declared parameter.
type query struct {
	page, perPage int
	order         string // as given
	column        string // what order sorts by; "" = none given
	desc          bool
	params        []param
	includes      []*Include
	fields        map[*Include][]string
}

// param is one parameter as given: name, the operator in brackets (gt, not, a resource), and its text.
type param struct{ name, op, text string }

func (p param) key() string {
	if p.op == "" {
		return p.name
	}
	return p.name + "[" + p.op + "]"
}

// list splits a value as CF does: at commas, and each part is decoded once more, so that a comma inside a name can be
// sent as %252C.
func (p param) list() []string {
	parts := strings.Split(p.text, ",")
	for i, s := range parts {
		if i > 0 {
			s = strings.TrimLeft(s, " \t\n\r\f\v")
		}
		if d, err := url.PathUnescape(s); err == nil && utf8.ValidString(d) && !strings.ContainsRune(d, 0) {
			s = d
		}
		parts[i] = s
	}
	return parts
}

// parseParams reads the raw query in its order; of a parameter given twice the last counts.
func parseParams(r *http.Request) ([]param, error) {
	var out []param
	for _, pair := range strings.Split(r.URL.RawQuery, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		k, err1 := url.QueryUnescape(k)
		v, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil || !utf8.ValidString(k+v) || strings.ContainsRune(k+v, 0) {
			return nil, &cf.Error{Kind: cf.KindInvalid, Code: "InvalidRequest"}
		}
		p := param{name: k, text: v}
		if name, op, ok := strings.Cut(k, "["); ok && name != "" && strings.HasSuffix(op, "]") {
			p.name, p.op = name, strings.TrimSuffix(op, "]")
		}
		out = slices.DeleteFunc(out, func(o param) bool { return o.name == p.name && (o.op == p.op || o.op == "" || p.op == "") })
		out = append(out, p)
	}
	return out, nil
}

// faultsOf gathers what is wrong with a query, in CF's words.
type faultsOf []string

func (f *faultsOf) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f faultsOf) err() error {
	if len(f) == 0 {
		return nil
	}
	return BadParameter(f...)
}

// unknown names the parameters that nobody declared.
func (f *faultsOf) unknown(ps []param, valid []string) {
	var bad []string
	for _, p := range ps {
		if !slices.Contains(valid, p.name) && !slices.Contains(bad, p.name) {
			bad = append(bad, p.name)
		}
	}
	if bad != nil {
		f.add("Unknown query parameter(s): '%s'. Valid parameters are: '%s'", strings.Join(bad, "', '"), strings.Join(valid, "', '"))
	}
}

// number reads the digits at the start of s as Ruby's to_i does; -1 is too large for any page.
func number(s string) int {
	s = strings.TrimLeft(strings.TrimSpace(s), "+")
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		s = s[:end]
	}
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > 1<<40 {
		return -1
	}
	return n
}

// paging reads page and per_page: 50 a page, at most 5000.
func (q *query) paging(p param, bad *faultsOf) {
	n := number(p.text)
	switch {
	case n == 0:
		bad.add("%s must be a positive integer", Humanize(p.name))
	case p.name == "per_page" && (n < 0 || n > 5000):
		bad.add("Per page must be between 1 and 5000")
	case n < 0:
		bad.add("Maximum result (page * per_page) must be less than 9223372036854775807")
	case p.name == "page":
		q.page = n
	default:
		q.perPage = n
	}
}

// orderBy reads order_by against the allowed names, each of them "name" or "name:column".
func (q *query) orderBy(p param, orders []string, bad *faultsOf) {
	if p.text == "" {
		return
	}
	name := strings.TrimPrefix(p.text, "+")
	if name == p.text {
		name = strings.TrimPrefix(p.text, "-")
		q.desc = name != p.text
	}
	names := make([]string, 0, len(orders))
	for _, o := range orders {
		n, column, ok := strings.Cut(o, ":")
		if !ok {
			column = n
		}
		if n == name {
			q.order, q.column = p.text, column
			return
		}
		names = append(names, "'"+n+"'")
	}
	bad.add("Order by can only be: %s", strings.Join(names, ", "))
}

// values are the parameters that links of a list carry on.
func (q *query) values() url.Values {
	v := url.Values{"per_page": {strconv.Itoa(q.perPage)}}
	if q.order != "" {
		v.Set("order_by", q.order)
	}
	for _, p := range q.params {
		text := p.text
		if p.name != "label_selector" {
			parts := p.list()
			for i := range parts {
				parts[i] = strings.ReplaceAll(parts[i], ",", "%2C")
			}
			text = strings.Join(parts, ",")
		}
		v.Set(p.key(), text)
	}
	return v
}
