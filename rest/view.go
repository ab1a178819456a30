package rest

import (
	"time"

	"ingot/kit/sql"
	"ingot/rest/row"
)

// Absent is what a view says of a common field that its noun does not show.
const Absent absent = 0

type absent int

// set leaves what a view said itself.
func set(o Object, key string, v any) {
	if _, ok := o[key]; !ok {
		o[key] = v
	}
}

// Stamp is a time as CF writes it; nil for the zero time.
func Stamp(t sql.Time) any {
	if t == 0 {
		return nil
	}
	return t.Time().Truncate(time.Second).Format(time.RFC3339)
}

// Metadata is the object of labels and annotations; both are always there.
func Metadata(m *row.Metadata) Object {
	l, a := m.Labels, m.Annotations
	if l == nil {
		l = map[string]string{}
	}
	if a == nil {
		a = map[string]string{}
	}
	return Object{"labels": l, "annotations": a}
}

// ToOne is a relationship to one object; "" is none: {"data": null}.
func ToOne(guid string) Object {
	if guid == "" {
		return Object{"data": nil}
	}
	return Object{"data": Object{"guid": guid}}
}

// ToMany is a relationship to many.
func ToMany(guids []string) Object {
	data := make([]Object, len(guids))
	for i, g := range guids {
		data[i] = Object{"guid": g}
	}
	return Object{"data": data}
}
