package org

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"ingot/rest"
	"ingot/rest/row"
)

// manyBody is {"data": [{"guid": "..."}]}.
type manyBody struct {
	segment bool // isolation segments word it differently
	guids   []string
}

func (t *manyBody) Take(b *rest.Body) {
	raw := b.Raw("data")
	var data []json.RawMessage
	if raw == nil || string(raw) == "null" || string(raw) == "[]" || string(raw) == "{}" {
		b.Wrong("data", "can't be blank")
	}
	if raw == nil || json.Unmarshal(raw, &data) != nil || string(raw) == "null" {
		b.Wrong("data", "must be an array")
		return
	}
	for i, one := range data {
		var v map[string]any
		_ = json.Unmarshal(one, &v) // what is no object has no guid
		guid, ok := v["guid"].(string)
		switch {
		case ok && !strings.ContainsRune(guid, 0):
			if !slices.Contains(t.guids, guid) {
				t.guids = append(t.guids, guid)
			}
		case t.segment:
			b.Wrong("data", "%v not a string", v["guid"])
		default:
			b.Fault("Invalid data type: Data[%d] guid should be a string.", i)
		}
	}
}

// many answers a relationship to many; related links to their list.
func many(c *rest.Call, guids []string, self, related rest.Object) error {
	o := rest.ToMany(guids)
	links := rest.Object{"self": self}
	if related != nil {
		links["related"] = related
	}
	o["links"] = links
	return c.JSON(http.StatusOK, o)
}

// without are the guids that none of the rows has.
func without[T row.Noun](guids []string, rows []T) (out []string) {
	for _, g := range guids {
		if !slices.ContainsFunc(rows, func(r T) bool { return r.Base().GUID == g }) {
			out = append(out, g)
		}
	}
	return out
}

// inspect writes texts as Ruby shows an array of them.
func inspect(texts []string) string {
	return `["` + strings.Join(texts, `", "`) + `"]`
}
