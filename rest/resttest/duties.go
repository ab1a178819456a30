package resttest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"ingot/rest"
)

// Duties asks every endpoint for what each noun owes, whatever it is about: a new row is tested by it before anybody
// writes a test. The world needs objects of the nouns, some of which the users see and some not.
type Duties struct {
	*API
	Endpoints []rest.Endpoint
	Users     []string // who see different things, besides "admin", who sees all
	// Excuses are lines that would be errors, by their beginning, and why they are not.
	Excuses map[string]string
	Good    map[string]string // bodies of requests whose body is judged before their object is sought
}

// wrong reports a fault, unless it is excused.
func (d *Duties) wrong(format string, args ...any) {
	d.T.Helper()
	text := fmt.Sprintf(format, args...)
	for begin := range d.Excuses {
		if strings.HasPrefix(text, begin) {
			return
		}
	}
	d.T.Error(text)
}

var argument = regexp.MustCompile(`\{[\w.]+\}`)

// path is the endpoint's path with an existing object of the first argument's noun; "" where there is none.
func (d *Duties) path(e rest.Endpoint) string {
	head, _, below := strings.Cut(e.Path, "/{")
	if !below {
		return e.Path
	}
	guids := d.guids(head)
	if len(guids) == 0 {
		return ""
	}
	return argument.ReplaceAllString(strings.Replace(e.Path, argument.FindString(e.Path), url.PathEscape(guids[0]), 1), "0")
}

// guids are those of a list as the admin sees it.
func (d *Duties) guids(list string) []string {
	i := slices.IndexFunc(d.Endpoints, func(e rest.Endpoint) bool { return e.Method == http.MethodGet && e.Path == list && e.Act == rest.Lists })
	if i < 0 {
		return nil
	}
	return d.Must(200, "admin", "GET "+list+"?per_page=5000", nil).guids()
}

// guids are those of a list; feature flags have names instead.
func (r Answer) guids() []string {
	out := r.Names("guid")
	if len(out) > 0 && out[0] == "" {
		return r.Names("name")
	}
	return out
}

// Doors: without a token, and for an object that is not there.
func (d *Duties) Doors() {
	for _, e := range d.Endpoints {
		line := e.Method + " " + argument.ReplaceAllString(e.Path, "nope")
		if r := d.Do("", line, "{}"); !e.Open && (r.Status != 401 || r.Get("errors", 0, "title") != "CF-NotAuthenticated") {
			d.wrong("%s %s without a token: %d", e.Method, e.Path, r.Status)
		}
		if r := d.Do("nothing", line, "{}"); !e.Open && r.Status != 403 {
			d.wrong("%s %s with a token without scopes: %d", e.Method, e.Path, r.Status)
		}
		if strings.Contains(e.Path, "{") {
			if r := d.Do("admin", line, cmp.Or(d.Good[e.Method+" "+e.Path], "{}")); r.Status != 404 || e.Noun != "" && e.Below == "" && r.Detail() != rest.Humanize(e.Noun)+" not found" {
				d.wrong("%s %s of what is not there: %d %s", e.Method, e.Path, r.Status, r.Detail())
			}
		}
	}
}

// Lists: pages, orders, filters and links of each list.
func (d *Duties) Lists() {
	for _, e := range d.Endpoints {
		if path := d.path(e); e.Act == rest.Lists && path != "" {
			l := &list{Duties: d, e: e, path: path}
			l.all = l.ask("per_page=5000")
			l.pages()
			l.orders()
			for _, p := range e.Query {
				l.parameter(p)
			}
			l.bad("zzz=1")
			for _, q := range []string{"page=0", "page=x", "page=-1", "page=99999999999999999999", "per_page=0", "per_page=5001", "order_by=zzz", "guids[x]=1"} {
				l.bad(q)
			}
			if r := d.Do("admin", "GET "+path+"?guids=%00", nil); r.Status != 400 {
				d.wrong("GET %s?guids=NUL: %d", e.Path, r.Status)
			}
		}
	}
}

type list struct {
	*Duties
	e    rest.Endpoint
	path string
	all  []string
}

// ask gives the guids that a query answers.
func (l *list) ask(query string) []string {
	r := l.Do("admin", "GET "+l.path+"?"+query, nil)
	if r.Status != 200 {
		l.wrong("GET %s?%s: %d %s", l.e.Path, query, r.Status, r.Detail())
		return nil
	}
	for _, m := range href.FindAllStringSubmatch(r.Text, -1) {
		if !strings.HasPrefix(m[1], l.url+"/") {
			l.wrong("GET %s: the link %s is not absolute", l.e.Path, m[1])
		}
	}
	out := r.guids()
	if n, ok := r.Get("pagination", "total_results").(float64); !ok || strings.HasPrefix(query, "per_page=5000") && int(n) != len(out) {
		l.wrong("GET %s?%s: total_results %v of %d", l.e.Path, query, n, len(out))
	}
	return out
}

var href = regexp.MustCompile(`"href":"([^"]*)"`)

// bad asks for what must be refused.
func (l *list) bad(query string) {
	r := l.Do("admin", "GET "+l.path+"?"+query, nil)
	if r.Status != l.e.BadQuery || r.Detail() == "" {
		l.wrong("GET %s?%s: %d %s", l.e.Path, query, r.Status, r.Detail())
	}
	if query != "zzz=1" {
		return
	}
	valid, _ := strings.CutPrefix(r.Detail(), "The query parameter is invalid: ")
	valid, ok := strings.CutPrefix(valid, "Unknown query parameter(s): 'zzz'. Valid parameters are: ")
	for _, p := range l.e.Query {
		if name, _, _ := strings.Cut(p.Name, "["); !ok || !strings.Contains(valid, "'"+name+"'") {
			l.wrong("GET %s: the valid list lacks %s: %s", l.e.Path, name, r.Detail())
		}
	}
}

func (l *list) pages() {
	var seen []string
	next := l.path + "?per_page=1"
	for n := 0; next != "" && n < 30; n++ {
		r := l.Must(200, "admin", "GET "+next, nil)
		seen = append(seen, r.guids()...)
		next, _ = r.Get("pagination", "next", "href").(string)
	}
	if !slices.Equal(seen, l.all[:min(30, len(l.all))]) {
		l.wrong("GET %s: page by page %v, at once %v", l.e.Path, seen, l.all)
	}
	if len(l.ask("page=5000")) != 0 {
		l.wrong("GET %s: there is something on page 5000", l.e.Path)
	}
}

func (l *list) orders() {
	i := slices.IndexFunc(l.e.Query, func(p rest.Parameter) bool { return p.Type == "order" })
	for _, by := range l.e.Query[i].Values {
		up, down := l.ask("per_page=5000&order_by=%2B"+by), l.ask("per_page=5000&order_by=-"+by)
		slices.Reverse(down)
		if !slices.Equal(up, down) || len(up) != len(l.all) || !slices.Equal(up, l.ask("per_page=5000&order_by="+by)) {
			l.wrong("GET %s?order_by=%s: up %v, down the other way round %v", l.e.Path, by, up, down)
		}
	}
}

// want asks a query whose answer is known: all, none.
func (l *list) want(query string, want []string) {
	if got := l.ask("per_page=5000&" + query); len(got) != len(want) {
		l.wrong("GET %s?%s: %v, want %v", l.e.Path, query, got, want)
	}
}

func (l *list) parameter(p rest.Parameter) {
	switch p.Type {
	case "refused":
		l.bad(p.Name + "=2001-01-01T00:00:00Z")
	case "times":
		for query, want := range map[string][]string{"=2001-01-01T00:00:00Z,2002-01-01T00:00:00Z": nil, "[gt]=2001-01-01T00:00:00Z": l.all,
			"[lte]=2001-01-01T00:00:00Z": nil, "[lt]=2101-01-01T00:00:00Z": l.all, "[gte]=2101-01-01T00:00:00Z": nil,
			"[gt]=2001-01-01T00:00:00Z&" + p.Name + "[lt]=2101-01-01T00:00:00Z": l.all} {
			l.want(p.Name+query, want)
		}
		for _, query := range []string{"=yesterday", "=2001-13-01T00:00:00Z", "[near]=2001-01-01T00:00:00Z", "[lt]=2001-01-01T00:00:00Z,2002-01-01T00:00:00Z"} {
			l.bad(p.Name + query)
		}
	case "list", "text":
		l.filter(p)
	case "boolean":
		l.ask(p.Name + "=true")
		l.ask(p.Name + "=false")
		l.bad(p.Name + "=maybe")
	case "selector":
		for query, want := range map[string][]string{"zz-none": nil, "!zz-none": l.all, "zz-none=a": nil, "zz-none==a": nil, "zz-none!=a": l.all,
			"zz-none in (a,b)": nil, "zz-none notin (a,b)": l.all, "zz.io/none=a,!zz-none": nil} {
			l.want(p.Name+"="+url.QueryEscape(query), want)
		}
		for _, query := range []string{"", "a%20b", "%3Da", "a%3D-", "a/b/c", "a%20in%20(-)"} {
			l.bad(p.Name + "=" + query)
		}
	case "include", "fields":
		for _, v := range p.Values {
			if r := l.Must(200, "admin", "GET "+l.path+"?"+p.Name+"="+v, nil); r.JSON["included"] == nil {
				l.wrong("GET %s?%s=%s: nothing is included", l.e.Path, p.Name, v)
			}
		}
		l.bad(p.Name + "=zzz")
	}
}

// filter asks with values that no object has: nothing is found, or the value is refused.
func (l *list) filter(p rest.Parameter) {
	if p.Name == "guids" && len(l.all) > 0 {
		l.want("guids=nope,"+url.QueryEscape(l.all[0]), l.all[:1])
	}
	for _, v := range []string{"nope", "no%252Cpe", "nope,%20nope2", "%F0%9F%98%80", "'", strings.Repeat("x", 3000)} {
		r := l.Do("admin", "GET "+l.path+"?"+p.Name+"="+v, nil)
		if r.Status != l.e.BadQuery && r.Status != 200 || r.Status == 200 && len(r.guids()) > 0 {
			l.wrong("GET %s?%s=%s: %d, %d found", l.e.Path, p.Name, v[:min(9, len(v))], r.Status, len(r.guids()))
		}
	}
	if p.Not {
		l.want(p.Name+"[not]=nope", l.all)
	}
	if p.Type == "list" {
		l.bad(p.Name + "[x]=1")
	}
}

// Seen: a user gets, changes and deletes what the user's list shows, and knows nothing of what it does not show.
func (d *Duties) Seen() {
	for _, e := range d.Endpoints {
		if e.Act != rest.Lists || e.Below != "" || strings.Contains(e.Path, "{") {
			continue
		}
		all := d.guids(e.Path)
		for _, user := range d.Users {
			seen := d.Do(user, "GET "+e.Path+"?per_page=5000", nil).guids()
			for _, guid := range all[:min(50, len(all))] {
				d.one(user, e.Path, guid, slices.Contains(seen, guid))
			}
		}
	}
}

func (d *Duties) one(user, list, guid string, seen bool) {
	for _, e := range d.Endpoints {
		line := e.Method + " " + list + "/" + url.PathEscape(guid)
		switch {
		case e.Path != list+"/{guid}":
		case e.Act == rest.Shows:
			if r := d.Do(user, line, nil); seen != (r.Status == 200) || !seen && r.Status != 404 {
				d.wrong("GET %s as %s: %d, and the list shows it: %t", e.Path, user, r.Status, seen)
			}
		case !seen && (e.Act == rest.Updates || e.Act == rest.Deletes):
			if r := d.Do(user, line, `{"zzz":1}`); r.Status != 404 {
				d.wrong("%s %s as %s, who does not see it: %d", e.Method, e.Path, user, r.Status)
			}
		}
	}
}

// Bodies: what is no good JSON is refused in CF's words, and nothing is a fault of ours.
func (d *Duties) Bodies() {
	deep := `{"metadata":` + strings.Repeat(`{"a":`, 150) + "1" + strings.Repeat("}", 151)
	for _, e := range d.Endpoints {
		path := d.path(e)
		if path == "" || !slices.Contains([]string{http.MethodPost, http.MethodPatch, http.MethodPut}, e.Method) {
			continue
		}
		for body, want := range map[string]int{`{`: 400, deep: 400, "{\"name\":\"\xff\"}": 400, `{"zzz":1}`: 422, `[]`: 422, `7`: 422, `{"name":"a","name":7,"zzz":1}`: 422,
			`{"name":1e999,"zzz":1}`: 422, `{"name":"\u0000","metadata":{"labels":{"\u0000":"a"}}}`: 422, `{"metadata":{"labels":7,"zzz":1},"relationships":[],"data":[[]],"guid":{}}`: 422} {
			r := d.Do("admin", e.Method+" "+path, body)
			if r.Status >= 500 || r.Status >= 400 && r.Detail() == "" || (e.Act == rest.Creates || e.Act == rest.Updates) && r.Status != want {
				d.wrong("%s %s with %.40s: %d %s", e.Method, e.Path, body, r.Status, r.Detail())
			}
			if e.Act != "" && body == `{"zzz":1}` && !strings.Contains(r.Detail(), "Unknown field(s): 'zzz'") {
				d.wrong("%s %s with an unknown field: %s", e.Method, e.Path, r.Detail())
			}
		}
	}
}

// Deletions: what is deleted twice is the same job or gone. Nouns that others are below come late; spaces and
// organizations, which take all with them, last.
func (d *Duties) Deletions() {
	weight := func(e rest.Endpoint) (n int) {
		for _, o := range d.Endpoints {
			if o.Below == e.Noun {
				n++
			}
		}
		return n + 1000*slices.Index([]string{"", "space", "organization"}, e.Noun)
	}
	var all []rest.Endpoint
	for _, e := range d.Endpoints {
		if e.Act == rest.Deletes {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b rest.Endpoint) int { return weight(a) - weight(b) })
	for _, e := range all {
		guids, done := d.guids(strings.TrimSuffix(e.Path, "/{guid}")), false
		for _, guid := range slices.Backward(guids) {
			if done = d.twice(e, strings.Replace(e.Path, "{guid}", url.PathEscape(guid), 1)); done {
				break
			}
		}
		if !done {
			d.wrong("DELETE %s: none of %d could be deleted; make one in the test's world", e.Path, len(guids))
		}
	}
}

// twice deletes an object again and again; false: it is not to be deleted.
func (d *Duties) twice(e rest.Endpoint, path string) bool {
	first, second := d.Do("admin", "DELETE "+path, nil), d.Do("admin", "DELETE "+path, nil)
	switch {
	case first.Status == 422 && first.Detail() != "":
		return false
	case e.Job && first.Status != 202 || !e.Job && first.Status != 204:
		d.wrong("DELETE %s: %d %s", e.Path, first.Status, first.Detail())
		return true
	case second.Status != 404 && (second.Status != 202 || second.Header.Get("Location") != first.Header.Get("Location")):
		d.wrong("DELETE %s a second time: %d %s", e.Path, second.Status, second.Detail())
	}
	if e.Job {
		if j := d.Job(first); j.JSON["state"] != "COMPLETE" || j.JSON["operation"] != e.Noun+".delete" {
			d.wrong("DELETE %s: %s", e.Path, j.Text)
		}
	}
	if r := d.Do("admin", "DELETE "+path, nil); r.Status != 404 {
		d.wrong("DELETE %s of what is gone: %d", e.Path, r.Status)
	}
	return true
}
