package doc

import (
	"fmt"
	"strings"

	"ingot/rest"
)

const head = `# The API

Written by a test from what the nouns and routes declare (` + "`go test ./capi -run TestDocs -update`" + `); what they mean is in Cloud Foundry's
documentation of API v3. [openapi.json](openapi.json) says the same for programs.

A field marked * may not be absent. Not here: the limits of values, which fields exclude each other, and the fields of answers,
which are those that Cloud Foundry documents. Every list takes page, per_page (1 to 5000, 50 by default), order_by (+ or - before the
name), guids, and created_ats and updated_ats (times, or one bound: [gt], [gte], [lt], [lte]) unless its line says otherwise.
JSON bodies have at most 4 MiB. Users have 20,000 requests an hour, addresses without a token 1,000: X-RateLimit-* tell.
`

// everyList are the parameters that the head explains.
var everyList = map[string]bool{"page": true, "per_page": true, "guids": true, "created_ats": true, "updated_ats": true}

// Markdown is the page for people.
func (rec *Recorder) Markdown(all []rest.Endpoint) string {
	b, now := &strings.Builder{}, ""
	b.WriteString(head)
	for _, e := range all {
		if g := group(e); g != now {
			now = g
			fmt.Fprintf(b, "\n## %s\n\n", strings.ReplaceAll(g, "_", " "))
		}
		a := rec.of(e)
		fmt.Fprintf(b, "- `%s %s`%s", e.Method, e.Path, answer(e, a))
		if text := parameters(query(e, a)); text != "" {
			fmt.Fprintf(b, "  \n  query: %s", text)
		}
		switch {
		case a.body != nil:
			fmt.Fprintf(b, "  \n  body: %s", fields(a.body))
		case a.other != "":
			fmt.Fprintf(b, "  \n  body: %s", a.other)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func answer(e rest.Endpoint, a answered) string {
	out := " " + e.Maturity
	for _, code := range a.status {
		out += fmt.Sprintf(", %d", code)
	}
	if e.Open {
		out += ", no token"
	}
	return out
}

func parameters(all []rest.Parameter) string {
	var out, absent []string
	have := map[string]bool{}
	for _, p := range all {
		have[p.Name] = true
		text := p.Name
		if len(p.Values) > 0 {
			text += " (" + strings.Join(p.Values, ", ") + ")"
		}
		if p.Not {
			text += ", " + p.Name + "[not]"
		}
		if !everyList[p.Name] {
			out = append(out, text)
		}
	}
	for _, name := range []string{"created_ats", "updated_ats"} {
		if have["page"] && !have[name] {
			absent = append(absent, name)
		}
	}
	if absent != nil {
		out = append(out, "not "+strings.Join(absent, ", "))
	}
	return strings.Join(out, "; ")
}

func fields(all []rest.Field) string {
	var out []string
	for _, f := range all {
		text := f.Name
		if f.Required {
			text += "*"
		}
		if len(f.Fields) > 0 {
			text += " {" + fields(f.Fields) + "}"
		} else if f.Type != "" && f.Type != f.Name {
			text += " (" + f.Type + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
