package rest

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"ingot/rest/row"
)

// Nested declares an object with fields of its own; its faults follow the outer field's name. It is not called when
// the key is absent.
func (b *Body) Nested(key string, take func(b *Body)) {
	raw := b.Raw(key)
	if raw == nil {
		b.inside(key, take)
		return
	}
	if raw[0] != '{' {
		b.Wrong(key, "must be an object")
		return
	}
	in, err := newBody(raw)
	if err != nil {
		b.Wrong(key, "must be an object")
		return
	}
	b.into(key, in, take)
	for _, f := range in.all() {
		b.Wrong(key, "%s", f)
	}
}

// Relationships declares the relationships of a body, all of them required unless optional.
func (b *Body) Relationships(optional bool, take func(b *Body)) {
	raw := b.Raw("relationships")
	if raw == nil {
		b.inside("relationships", take)
	}
	if raw == nil && optional {
		return
	}
	if raw == nil || raw[0] != '{' {
		b.Wrong("relationships", "'relationships' is not an object")
		return
	}
	in, err := newBody(raw)
	if err != nil || len(in.order) == 0 {
		b.Wrong("relationships", "'relationships' must include one or more valid relationships")
		return
	}
	b.into("relationships", in, take)
	for _, f := range in.all() {
		b.Wrong("relationships", "%s", f)
	}
}

// ToOne declares a relationship {"data": {"guid": "..."}}; null data is Null.
func (b *Body) ToOne(key string, o *Opt[string], rules ...Rule) {
	b.note(key, "relationship")
	raw := b.Raw(key)
	for _, rule := range rules {
		rule(b, key, &Opt[string]{Set: raw != nil, Null: string(raw) == "null", V: string(raw)})
	}
	var v map[string]json.RawMessage
	var data map[string]json.RawMessage
	if raw == nil && len(rules) == 0 {
		return
	}
	ok := json.Unmarshal(raw, &v) == nil && len(v) == 1 && v["data"] != nil
	if ok && string(v["data"]) == "null" {
		o.Set, o.Null = true, true
		return
	}
	ok = ok && json.Unmarshal(v["data"], &data) == nil && len(data) == 1 && data["guid"] != nil
	if !ok {
		b.Wrong(key, `must be structured like this: "%s: {"data": {"guid": "valid-guid"}}"`, key)
		return
	}
	b.guid(key+"_guid", data["guid"], o)
}

// ToMany declares a relationship {"data": [{"guid": "..."}]}.
func (b *Body) ToMany(key string, o *Opt[[]string]) {
	b.note(key, "relationships")
	var v struct{ Data []map[string]json.RawMessage }
	raw := b.Raw(key)
	if raw == nil {
		return
	}
	ok := json.Unmarshal(raw, &v) == nil && v.Data != nil
	for _, d := range v.Data {
		ok = ok && len(d) == 1 && d["guid"] != nil
	}
	if !ok {
		b.Wrong(key, `must be structured like this: "%s: {"data": [{"guid": "valid-guid"},{"guid": "valid-guid"}]}"`, key)
		return
	}
	o.Set = true
	for _, d := range v.Data {
		var g Opt[string]
		b.guid(strings.TrimSuffix(key, "s")+"_guids", d["guid"], &g)
		o.V = append(o.V, g.V)
	}
}

func (b *Body) guid(words string, raw json.RawMessage, o *Opt[string]) {
	if raw[0] != '"' || json.Unmarshal(raw, &o.V) != nil {
		b.Wrong(words, "must be a string")
	}
	if n := utf8.RuneCountInString(o.V); n < 1 || n > 200 || strings.ContainsRune(o.V, 0) {
		b.Wrong(words, "must be between 1 and 200 characters")
	}
	o.Set = true
}

// Metadata declares the labels and annotations of a body.
func (b *Body) Metadata(p *row.Patch) {
	raw := b.Raw("metadata")
	b.note("metadata", "metadata")
	if raw == nil {
		return
	}
	if raw[0] != '{' {
		b.meta.add("Metadata must be an object")
		return
	}
	in, err := newBody(raw)
	if err != nil {
		b.meta.add("Metadata must be an object")
		return
	}
	p.Labels, p.Annotations = in.texts("labels", &b.meta), in.texts("annotations", &b.meta)
	var extra []string
	for _, k := range in.order {
		if !in.known[k] {
			extra = append(extra, "'"+k+"'")
		}
	}
	if extra != nil {
		b.meta.add("Metadata has unexpected field(s): %s", strings.Join(extra, " "))
	}
	for _, f := range p.Faults() {
		b.meta.add("Metadata %s", f)
	}
}

// texts reads an object of texts; numbers and booleans become their text, as in CF.
func (b *Body) texts(key string, bad *faultsOf) map[string]*string {
	raw := b.Raw(key)
	if raw == nil || string(raw) == "null" {
		return nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		bad.add("Metadata '%s' is not an object", key)
		return nil
	}
	out := make(map[string]*string, len(m))
	for k, v := range m {
		s := string(v)
		if s == "null" {
			out[k] = nil
			continue
		}
		if s[0] == '"' {
			_ = json.Unmarshal(v, &s) // valid already
		}
		out[k] = &s
	}
	return out
}

// Empty tells whether the body has no fields at all.
func (b *Body) Empty() bool { return len(b.order) == 0 }

// Env declares an object of environment variables: texts, or null for one to be removed. CF refuses names that it
// sets itself.
func (b *Body) Env(key string) map[string]*string {
	b.note(key, "object")
	raw := b.Raw(key)
	var m map[string]json.RawMessage
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		b.Wrong(key, "must be an object")
		return nil
	}
	out := make(map[string]*string, len(m))
	for _, k := range sorted(m) {
		upper, v := strings.ToUpper(k), m[k]
		switch {
		case k == "":
			b.Wrong(key, "key must be a minimum length of 1")
		case strings.HasPrefix(upper, "VCAP_"):
			b.Wrong(key, "cannot start with VCAP_")
		case strings.HasPrefix(upper, "VMC"):
			b.Wrong(key, "cannot start with VMC_")
		case upper == "PORT":
			b.Wrong(key, "cannot set PORT")
		case string(v) == "null":
			out[k] = nil
		case v[0] != '"':
			b.Fault("Non-string value in environment variable for key '%s', value '%s'", k, v)
		default:
			s := new(string)
			if json.Unmarshal(v, s) != nil || strings.ContainsAny(k+*s, "\x00") {
				b.Wrong(key, "must not contain null characters")
			}
			out[k] = s
		}
	}
	return out
}
