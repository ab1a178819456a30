package services

import (
	"encoding/json"
	"net/url"
	"strings"
	"unicode/utf8"

	"ingot/rest"
	"ingot/rest/row"
)

// managed is the type of instances that a service broker makes.
const managed = "managed"

// CF's limits, in characters.
const maxName, maxDrain, maxTags = 255, 10000, 2048

type instanceBody struct {
	new         bool
	kind        rest.Opt[string]
	name        rest.Opt[string]
	space, plan rest.Opt[string]
	tags        rest.Opt[[]string]
	credentials rest.Opt[string]
	drain       rest.Opt[string]
	route       rest.Opt[string]
	meta        row.Patch
}

func (t *instanceBody) Take(b *rest.Body) {
	b.Metadata(&t.meta)
	if t.new {
		b.String("type", &t.kind)
		if t.kind.V != managed && t.kind.V != userProvided {
			b.Wrong("type", "must be one of 'managed', 'user-provided'")
		}
		b.Relationships(false, func(b *rest.Body) {
			b.ToOne("space", &t.space, rest.Required)
			if t.kind.V == managed {
				b.ToOne("service_plan", &t.plan, rest.Required)
			}
		})
		b.String("name", &t.name, rest.Required)
	} else {
		b.String("name", &t.name)
	}
	t.takeTags(b)
	if t.kind.V == managed {
		if raw := b.Raw("parameters"); raw != nil && raw[0] != '{' && string(raw) != "null" {
			b.Wrong("parameters", "must be an object")
		}
		return
	}
	if raw := b.Raw("credentials"); raw != nil {
		t.credentials.Set, t.credentials.Null = true, string(raw) == "null"
		if t.credentials.V = string(raw); raw[0] != '{' && !t.credentials.Null {
			b.Wrong("credentials", "must be an object")
		}
	}
	takeURL(b, "syslog_drain_url", &t.drain)
	takeURL(b, "route_service_url", &t.route)
	if strings.TrimSpace(t.route.V) != "" && !strings.HasPrefix(t.route.V, "https:") {
		b.Wrong("route_service_url", "must be https")
	}
}

func (t *instanceBody) takeTags(b *rest.Body) {
	raw := b.Raw("tags")
	if raw == nil {
		return
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		b.Wrong("tags", "must be an array")
		return
	}
	t.tags.Set = true
	for _, one := range list {
		var s string
		if one[0] != '"' || json.Unmarshal(one, &s) != nil || strings.ContainsRune(s, 0) {
			b.Wrong("tags", "must be a list of strings")
			return
		}
		t.tags.V = append(t.tags.V, s)
	}
}

func takeURL(b *rest.Body, key string, o *rest.Opt[string]) {
	b.String(key, o)
	if strings.TrimSpace(o.V) == "" {
		return
	}
	u, err := url.Parse(o.V)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "" || strings.ContainsAny(o.V, " \t\r\n") {
		b.Wrong(key, "must be a valid URI")
	}
}

// apply puts what the body says into an instance; the words of what is refused are those of Cloud Controller's model.
func (t *instanceBody) apply(i *Instance) error {
	if t.name.Set {
		i.Name = strings.TrimSpace(t.name.Or(""))
	}
	if t.tags.Set {
		i.Tags.V = t.tags.V
	}
	if t.credentials.Set {
		i.Credentials.V = ""
		if !t.credentials.Null {
			i.Credentials.V = t.credentials.V
		}
	}
	setURL(&i.Drain.V, t.drain)
	setURL(&i.RouteURL.V, t.route)
	var faults []string
	if i.RouteURL.V != nil && *i.RouteURL.V != "" {
		if u, err := url.Parse(*i.RouteURL.V); err != nil || u.Host == "" || strings.HasPrefix(u.Host, ".") {
			faults = append(faults, "service_instance route_service_url_invalid")
		}
	}
	if i.Name == "" {
		faults = append(faults, "name presence")
	}
	if utf8.RuneCountInString(i.Name) > maxName {
		faults = append(faults, "name max_length")
	}
	if i.Drain.V != nil && utf8.RuneCountInString(*i.Drain.V) > maxDrain {
		faults = append(faults, "syslog_drain_url max_length")
	}
	if utf8.RuneCountInString(strings.Join(i.Tags.V, "")) > maxTags {
		faults = append(faults, "tags too_long")
	}
	if faults != nil {
		return rest.Unprocessable("%s", strings.Join(faults, ", "))
	}
	return t.meta.Apply(i.Meta())
}

func setURL(into **string, o rest.Opt[string]) {
	if !o.Set {
		return
	}
	*into = nil
	if !o.Null {
		v := strings.TrimSpace(o.V)
		*into = &v
	}
}

// redacted is a body without its secrets, for audit events.
func redacted(body json.RawMessage) map[string]any {
	var v map[string]any
	if json.Unmarshal(body, &v) != nil {
		return nil
	}
	for _, key := range []string{"credentials", "syslog_drain_url", "route_service_url"} {
		if v[key] != nil {
			v[key] = "[REDACTED]"
		}
	}
	return v
}
