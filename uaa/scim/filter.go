package scim

import (
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"ingot/uaa/fault"
)

// column is where an attribute of a filter stands. fold: it is compared without regard to case.
type column struct {
	name string
	fold bool
	flag bool // it holds true or false
}

var userColumns = map[string]column{ // by attribute in lower case
	"id": {name: "guid"}, "username": {name: "username_key", fold: true}, "origin": {name: "origin"},
	"externalid": {name: "external_id"}, "email": {name: "email"}, "emails": {name: "email"}, "emails.value": {name: "email"},
	"givenname": {name: "given_name"}, "name.givenname": {name: "given_name"},
	"familyname": {name: "family_name"}, "name.familyname": {name: "family_name"},
	"active": {name: "active", flag: true}, "verified": {name: "verified", flag: true},
}

var groupColumns = map[string]column{"id": {name: "guid"}, "displayname": {name: "name"}}

// maxTerms bounds a filter. Cloud Controller asks for 200 users at a time.
const maxTerms = 512

// filter is a parsed SCIM filter: alternatives of conjunctions (the grammar of SCIM 1.1 §3.2.2.1 with eq, co, sw,
// pr, and, or, and parentheses).
type filter struct {
	text    string
	rest    string
	columns map[string]column
	terms   int
	depth   int
}

type clause struct {
	sql  string
	args []any
}

// parseFilter makes SQL of a filter. An empty filter is everything.
func parseFilter(text string, columns map[string]column) (clause, error) {
	if strings.TrimSpace(text) == "" {
		return clause{sql: "1 = 1"}, nil
	}
	f := &filter{text: text, rest: text, columns: columns}
	c, ok := f.or()
	if ok && strings.TrimSpace(f.rest) == "" && utf8.ValidString(text) && !strings.ContainsRune(text, 0) {
		return c, nil
	}
	return clause{}, fault.New(fault.Scim, "Invalid filter expression: [%s]", text)
}

func (f *filter) or() (clause, bool)  { return f.list("or", f.and) }
func (f *filter) and() (clause, bool) { return f.list("and", f.term) }

func (f *filter) list(word string, next func() (clause, bool)) (clause, bool) {
	c, ok := next()
	if !ok {
		return c, false
	}
	sqls, args := []string{c.sql}, c.args
	for f.word(word) {
		if c, ok = next(); !ok {
			return c, false
		}
		sqls, args = append(sqls, c.sql), append(args, c.args...)
	}
	return clause{"(" + strings.Join(sqls, " "+word+" ") + ")", args}, true
}

func (f *filter) term() (clause, bool) {
	if f.terms++; f.terms > maxTerms {
		return clause{}, false
	}
	if f.rest = strings.TrimLeft(f.rest, " "); strings.HasPrefix(f.rest, "(") {
		if f.depth++; f.depth > 16 {
			return clause{}, false
		}
		f.rest = f.rest[1:]
		c, ok := f.or()
		f.depth--
		f.rest = strings.TrimLeft(f.rest, " ")
		if !ok || !strings.HasPrefix(f.rest, ")") {
			return c, false
		}
		f.rest = f.rest[1:]
		return c, true
	}
	col, ok := f.columns[strings.ToLower(f.next())]
	if !ok {
		return clause{}, false
	}
	name := bun.Ident(col.name)
	op := strings.ToLower(f.next())
	if op == "pr" {
		return clause{"? IS NOT NULL", []any{name}}, true
	}
	v, ok := f.value()
	if !ok {
		return clause{}, false
	}
	return compare(col, op, v)
}

func compare(col column, op string, v any) (clause, bool) {
	name := bun.Ident(col.name)
	s, text := v.(string)
	if text && col.fold {
		s = Fold(s)
	}
	switch {
	case text == col.flag:
		return clause{}, false
	case op == "eq" && text:
		return clause{"? = ?", []any{name, s}}, true
	case op == "eq":
		return clause{"? = ?", []any{name, v}}, true
	case op == "co" && text:
		return clause{"? LIKE ? ESCAPE '!'", []any{name, "%" + like(s) + "%"}}, true
	case op == "sw" && text:
		return clause{"? LIKE ? ESCAPE '!'", []any{name, like(s) + "%"}}, true
	}
	return clause{}, false
}

func like(s string) string { return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s) }

// next cuts a word off.
func (f *filter) next() string {
	f.rest = strings.TrimLeft(f.rest, " ")
	i := strings.IndexAny(f.rest, " ()")
	if i < 0 {
		i = len(f.rest)
	}
	w := f.rest[:i]
	f.rest = f.rest[i:]
	return w
}

// word cuts this word off if it comes next.
func (f *filter) word(w string) bool {
	was := f.rest
	if strings.EqualFold(f.next(), w) {
		return true
	}
	f.rest = was
	return false
}

// value cuts a quoted text, true or false off. Within quotes a backslash takes the next character as it is.
func (f *filter) value() (any, bool) {
	f.rest = strings.TrimLeft(f.rest, " ")
	if !strings.HasPrefix(f.rest, `"`) {
		switch strings.ToLower(f.next()) {
		case "true":
			return true, true
		case "false":
			return false, true
		}
		return nil, false
	}
	var b strings.Builder
	for i := 1; i < len(f.rest); i++ {
		switch c := f.rest[i]; {
		case c == '"':
			f.rest = f.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(f.rest):
			i++
			b.WriteByte(f.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return nil, false
}
