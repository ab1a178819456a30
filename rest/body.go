package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"ingot/cf"
	"ingot/rest/row"
)

// Opt is a field of a body: Set when the body has its key, Null when that is null; V is only good when Set, not Null.
type Opt[T any] struct {
	Set, Null bool
	V         T
}

// Given tells whether there is a value.
func (o Opt[T]) Given() bool { return o.Set && !o.Null }

// Or is the value, or def where none is given.
func (o Opt[T]) Or(def T) T {
	if o.Given() {
		return o.V
	}
	return def
}

// Taker is a body: Take declares its fields. Its faults are told in the order of declaration, as CF does, after those
// of metadata and the unknown fields.
type Taker interface{ Take(b *Body) }

// Body reads one object of a request strictly. A field that is not declared is a fault.
type Body struct {
	fields map[string]json.RawMessage
	order  []string // keys as given
	known  map[string]bool
	meta   faultsOf
	faults faultsOf
	// refused are the fields with a fault.
	refused map[string]bool
}

// Take reads the request's body into v. It answers 400 for what is no JSON and 422 with all faults in CF's words.
func Take(c *Call, v Taker) error {
	if err := c.readBody(); err != nil {
		return err
	}
	return TakeFrom(c.Body, v)
}

// TakeFrom is Take for a body that came another way.
func TakeFrom(raw json.RawMessage, v Taker) error {
	b, err := newBody(raw)
	if err != nil {
		return err
	}
	v.Take(b)
	if faults := b.all(); len(faults) > 0 {
		return cf.Errorf(cf.KindUnprocessable, "UnprocessableEntity", "%s", strings.Join(faults, ", "))
	}
	return nil
}

// all are the faults in CF's order.
func (b *Body) all() []string {
	out := slices.Clone(b.meta)
	var unknown []string
	for _, k := range b.order {
		if !b.known[k] {
			unknown = append(unknown, k)
		}
	}
	if unknown != nil {
		out.add("Unknown field(s): '%s'", strings.Join(unknown, "', '"))
	}
	return append(out, b.faults...)
}

// maxDepth is how deep JSON may nest, as in Ruby's parser.
const maxDepth = 100

func newBody(raw json.RawMessage) (*Body, error) {
	b := &Body{fields: map[string]json.RawMessage{}, known: map[string]bool{}, refused: map[string]bool{}}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return b, nil
	}
	if !json.Valid(raw) || !utf8.Valid(raw) || depth(raw) > maxDepth {
		return nil, &cf.Error{Kind: cf.KindInvalid, Code: "MessageParseError", Public: "invalid request body"}
	}
	if raw[0] != '{' { // Rails names a body that is no object so
		b.fields["_json"], b.order = raw, []string{"_json"}
		return b, nil
	}
	return b, b.read(raw)
}

func (b *Body) read(raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return err
		}
		if _, twice := b.fields[key]; !twice {
			b.order = append(b.order, key)
		}
		b.fields[key] = v
	}
	return nil
}

func depth(raw []byte) (deepest int) {
	level, text := 0, false
	for i := 0; i < len(raw); i++ {
		switch ch := raw[i]; {
		case text && ch == '\\':
			i++
		case ch == '"':
			text = !text
		case text:
		case ch == '{' || ch == '[':
			level++
			deepest = max(deepest, level)
		case ch == '}' || ch == ']':
			level--
		}
	}
	return deepest
}

// Fault adds a fault of the body as a whole.
func (b *Body) Fault(format string, args ...any) { b.faults.add(format, args...) }

// Wrong adds a fault of a field: "Name can't be blank".
func (b *Body) Wrong(key, format string, args ...any) {
	b.refused[key] = true
	b.faults.add("%s %s", Humanize(key), fmt.Sprintf(format, args...))
}

// Has tells whether the body has the key.
func (b *Body) Has(key string) bool { _, ok := b.fields[key]; return ok }

// HasData tells whether the body has a relationship of that name to something.
func (b *Body) HasData(key string) bool {
	var v struct{ Data json.RawMessage }
	raw := b.fields[key]
	return raw != nil && json.Unmarshal(raw, &v) == nil && v.Data != nil && string(v.Data) != "null"
}

// Sound is false when the field was given and already refused.
func (b *Body) Sound(key string) bool { return !b.refused[key] }

// Raw declares a field and gives its JSON; nil when it is absent.
func (b *Body) Raw(key string) json.RawMessage {
	b.known[key] = true
	return b.fields[key]
}

// field declares a field, decodes it into o, and reports a wrong type in those words.
func field[T any](b *Body, key string, o *Opt[T], first, words string) bool {
	raw := b.Raw(key)
	if raw == nil {
		return false
	}
	o.Set = true
	if string(raw) == "null" {
		o.Null = true
		return false
	}
	if !strings.ContainsRune(first, rune(raw[0])) || json.Unmarshal(raw, &o.V) != nil {
		b.Wrong(key, "%s", words)
		o.Set = false
		return false
	}
	return true
}

// String declares a string.
func (b *Body) String(key string, o *Opt[string], rules ...Rule) {
	if field(b, key, o, `"`, "must be a string") && strings.ContainsRune(o.V, 0) {
		b.Wrong(key, "must not contain null characters")
	}
	for _, rule := range rules {
		rule(b, key, o)
	}
}

// GUID declares a guid.
func (b *Body) GUID(key string, o *Opt[string]) {
	if raw := b.Raw(key); raw != nil && string(raw) != "null" {
		b.guid(key, raw, o)
	}
}

// Bool declares a boolean.
func (b *Body) Bool(key string, o *Opt[bool]) { field(b, key, o, "tf", "must be a boolean") }

// Int declares a whole number between lo and hi. CF's words for other numbers are the noun's: words.
func (b *Body) Int(key string, o *Opt[int], lo, hi int, words string) {
	raw := b.Raw(key)
	if raw == nil {
		return
	}
	o.Set = true
	if o.Null = string(raw) == "null"; o.Null {
		return
	}
	n, ok := new(big.Int).SetString(string(raw), 10)
	switch {
	case !ok && !strings.ContainsRune("-0123456789", rune(raw[0])):
		b.Wrong(key, "is not a number")
	case !ok:
		b.Wrong(key, "must be an integer")
	case !n.IsInt64() || n.Int64() < int64(lo) || n.Int64() > int64(hi):
		b.Wrong(key, "%s", words)
	default:
		o.V = int(n.Int64())
	}
}

// Strings declares a list of strings.
func (b *Body) Strings(key string, o *Opt[[]string], words string) { field(b, key, o, "[", words) }

// Object declares an object of strings or nulls: environment variables and the like.
func (b *Body) Object(key string, o *Opt[map[string]json.RawMessage]) {
	field(b, key, o, "{", "must be an object")
}

// Nested declares an object with fields of its own; its faults follow the outer field's name. It is not called when
// the key is absent.
func (b *Body) Nested(key string, take func(b *Body)) {
	raw := b.Raw(key)
	if raw == nil {
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
	take(in)
	for _, f := range in.all() {
		b.Wrong(key, "%s", f)
	}
}

// Relationships declares the relationships of a body, all of them required unless optional.
func (b *Body) Relationships(optional bool, take func(b *Body)) {
	raw := b.Raw("relationships")
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
	take(in)
	for _, f := range in.all() {
		b.Wrong("relationships", "%s", f)
	}
}

// ToOne declares a relationship {"data": {"guid": "..."}}; null data is Null.
func (b *Body) ToOne(key string, o *Opt[string], rules ...Rule) {
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
	for _, f := range checkMetadata(*p) {
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

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
