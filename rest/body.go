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
	seen    *seen // nil unless somebody watches
}

// Take reads the request's body into v. It answers 400 for what is no JSON and 422 with all faults in CF's words.
func Take(c *Call, v Taker) error {
	if err := c.readBody(); err != nil {
		return err
	}
	w := watchOf(c.Ctx())
	w.declare(v)
	return takeFrom(c.Body, v, w)
}

// TakeFrom is Take for a body that came another way.
func TakeFrom(raw json.RawMessage, v Taker) error { return takeFrom(raw, v, nil) }

func takeFrom(raw json.RawMessage, v Taker, w *Watch) error {
	b, err := newBody(raw)
	if err != nil {
		return err
	}
	if w != nil {
		b.seen = &seen{}
	}
	v.Take(b)
	if w != nil {
		w.Body = Merge(w.Body, b.seen.fields)
	}
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
	b.lacks(key)
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
	raw := b.fields[key]
	kind := ""
	if raw != nil && (raw[0] == '{' || raw[0] == '[') {
		kind = typeOf(raw[0])
	}
	b.note(key, kind)
	return raw
}

// field declares a field, decodes it into o, and reports a wrong type in those words.
func field[T any](b *Body, key string, o *Opt[T], first, words string) bool {
	raw := b.Raw(key)
	b.note(key, typeOf(first[0]))
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
	b.note(key, "string")
	if raw := b.Raw(key); raw != nil && string(raw) != "null" {
		b.guid(key, raw, o)
	}
}

// Bool declares a boolean.
func (b *Body) Bool(key string, o *Opt[bool]) { field(b, key, o, "tf", "must be a boolean") }

// Int declares a whole number between lo and hi. CF's words for other numbers are the noun's: words.
func (b *Body) Int(key string, o *Opt[int], lo, hi int, words string) {
	b.note(key, "integer")
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

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
