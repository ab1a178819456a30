// Package many is the relationships of nouns to many organizations or spaces: the body that names these holders, the table
// of pairs that keeps them, and the answer that lists them.
//
// It promises that a pair is kept once, and that an answer tells only of holders that its caller sees. It will not ask who
// may: the noun does, in CF's words for it.
package many

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/rest"
	"ingot/rest/access"
	"ingot/rest/row"
)

// Body is {"data": [{"guid": "..."}]}, Cloud Controller's ToManyRelationshipMessage.
type Body struct {
	GUIDs []string // as given, each once
	// Wrong says what is no text in other words than CF's usual ones.
	Wrong func(b *rest.Body, guid any)
}

// Take declares data.
func (t *Body) Take(b *rest.Body) {
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
			if !slices.Contains(t.GUIDs, guid) {
				t.GUIDs = append(t.GUIDs, guid)
			}
		case t.Wrong != nil:
			t.Wrong(b, v["guid"])
		default:
			b.Fault("Invalid data type: Data[%d] guid should be a string.", i)
		}
	}
}

// Answer lists holders; related links to their list, nil to none.
func Answer(c *rest.Call, guids []string, self, related rest.Object) error {
	o := rest.ToMany(guids)
	links := rest.Object{"self": self}
	if related != nil {
		links["related"] = related
	}
	o["links"] = links
	return c.JSON(http.StatusOK, o)
}

// Lost are the guids that none of the rows has.
func Lost[T row.Noun](guids []string, rows []T) (out []string) {
	for _, g := range guids {
		if !slices.ContainsFunc(rows, func(r T) bool { return r.Base().GUID == g }) {
			out = append(out, g)
		}
	}
	return out
}

// Inspect writes texts as Ruby shows an array of them.
func Inspect(texts []string) string {
	return `["` + strings.Join(texts, `", "`) + `"]`
}

// Pairs is a table of pairs: id $serial, the noun, the holder, UNIQUE of both.
type Pairs struct {
	Table, Noun, Holder string       // "route_shared_domains", "domain_guid", "org_guid"
	Visible             access.Scope // who sees which holders: access.InOrgs("org_guid")
}

// Held is the condition of the nouns that some holders have; its ? is their guids.
func (p Pairs) Held() string {
	return "guid IN (SELECT " + p.Noun + " FROM " + p.Table + " WHERE " + p.Holder + " IN (?))"
}

// Fill gives each row of an answer its holders, in the order in which they got it, as far as the caller sees them.
func Fill[T row.Noun](c *rest.Call, p Pairs, rows []T, put func(T, []string)) error {
	guids := make([]string, len(rows))
	for i, r := range rows {
		guids[i] = r.Base().GUID
	}
	var pairs []struct{ Noun, Holder string }
	q := c.DB().NewSelect().TableExpr(p.Table).ColumnExpr("? AS noun, ? AS holder", bun.Ident(p.Noun), bun.Ident(p.Holder)).
		Where("? IN (?)", bun.Ident(p.Noun), bun.List(guids)).OrderExpr("id")
	if err := p.Visible.Narrow(c.Caller, q).Scan(c.Ctx(), &pairs); err != nil {
		return err
	}
	held := map[string][]string{}
	for _, pair := range pairs {
		held[pair.Noun] = append(held[pair.Noun], pair.Holder)
	}
	for i, r := range rows {
		put(r, held[guids[i]])
	}
	return nil
}

// Has tells whether the holder has the noun.
func (p Pairs) Has(ctx context.Context, db bun.IDB, noun, holder string) (bool, error) {
	return db.NewSelect().TableExpr(p.Table).Where("? = ? AND ? = ?", bun.Ident(p.Noun), noun, bun.Ident(p.Holder), holder).Exists(ctx)
}

// Add gives the noun to those of the holders that do not have it yet; it and they are held.
func (p Pairs) Add(ctx context.Context, tx bun.Tx, noun string, holders []string) error {
	for _, holder := range holders {
		has, err := p.Has(ctx, tx, noun, holder)
		if err == nil && !has {
			_, err = tx.NewRaw("INSERT INTO ? (?, ?) VALUES (?, ?)", bun.Ident(p.Table), bun.Ident(p.Noun), bun.Ident(p.Holder), noun, holder).Exec(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes the pairs that meet the condition: "org_guid = ?".
func (p Pairs) Remove(ctx context.Context, tx bun.Tx, where string, args ...any) error {
	_, err := tx.NewDelete().TableExpr(p.Table).Where(where, args...).Exec(ctx)
	return err
}
