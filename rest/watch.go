package rest

import (
	"context"
	"reflect"
	"slices"
)

// Watch learns what handlers declare while they answer, for documents and tests: a row says what its lists take, but
// bodies are declared in code, by Take.
type Watch struct {
	Pattern string      // of the endpoint that answered
	Body    []Field     // that it declares
	Query   []Parameter // of a list that a plain handler answers
}

// Field is one of a body.
type Field struct {
	Name     string
	Type     string  // string, boolean, integer, array, object, relationship, relationships, metadata; "" = not known
	Required bool    // its absence is a fault
	Fields   []Field // of an object
}

type watchKey struct{}

// Watching makes the handlers that get ctx tell w.
func Watching(ctx context.Context, w *Watch) context.Context {
	return context.WithValue(ctx, watchKey{}, w)
}

func watchOf(ctx context.Context) *Watch {
	w, _ := ctx.Value(watchKey{}).(*Watch)
	return w
}

// declare runs a copy of v on a body that has nothing but declares all.
func (w *Watch) declare(v Taker) {
	if w == nil {
		return
	}
	b := recording()
	fresh := reflect.New(reflect.TypeOf(v).Elem())
	fresh.Elem().Set(reflect.ValueOf(v).Elem())
	defer func() { // a Take that counts on a field being there says the rest with the real body
		_ = recover()
		w.Body = Merge(w.Body, b.seen.fields)
	}()
	if t, ok := fresh.Interface().(Taker); ok {
		t.Take(b)
	}
}

// seen is what a body was asked for.
type seen struct {
	fields []Field
	all    bool // also what is inside of absent objects, and which absence is a fault
}

func recording() *Body {
	b, _ := newBody(nil) // cannot fail: it is empty
	b.seen = &seen{all: true}
	return b
}

// note remembers a field's type, which may be known only later.
func (b *Body) note(key, kind string) {
	if b.seen != nil {
		b.seen.fields = Merge(b.seen.fields, []Field{{Name: key, Type: kind}})
	}
}

// inside takes the fields of an absent object, if somebody wants to know them.
func (b *Body) inside(key string, take func(*Body)) {
	if b.seen != nil && b.seen.all {
		in := recording()
		take(in)
		b.seen.fields = Merge(b.seen.fields, []Field{{Name: key, Type: "object", Fields: in.seen.fields}})
	}
}

// into makes an object inside the body tell what it is asked for as well.
func (b *Body) into(key string, in *Body, take func(*Body)) {
	if b.seen == nil {
		take(in)
		return
	}
	in.seen = &seen{}
	take(in)
	b.seen.fields = Merge(b.seen.fields, []Field{{Name: key, Type: "object", Fields: in.seen.fields}})
}

// lacks remembers that a field's absence is a fault.
func (b *Body) lacks(key string) {
	if b.seen == nil || !b.seen.all || b.fields[key] != nil {
		return
	}
	if i := slices.IndexFunc(b.seen.fields, func(f Field) bool { return f.Name == key }); i >= 0 {
		b.seen.fields[i].Required = true
	}
}

// Merge unites what is known of the same fields.
func Merge(a, b []Field) []Field {
	for _, f := range b {
		i := slices.IndexFunc(a, func(have Field) bool { return have.Name == f.Name })
		if i < 0 {
			a = append(a, f)
			continue
		}
		if a[i].Type == "" || a[i].Type == "object" && f.Type != "" {
			a[i].Type = f.Type
		}
		a[i].Required = a[i].Required || f.Required
		a[i].Fields = Merge(a[i].Fields, f.Fields)
	}
	return a
}

// typeOf is the type of a value that begins so.
func typeOf(first byte) string {
	switch first {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	}
	return "boolean"
}
