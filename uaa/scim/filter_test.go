package scim

import (
	"strings"
	"testing"
)

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", `userName eq "a"`, `id eq "a" or (origin sw "b\"" and active eq true)`, `((`, `x pr`, `userName co "%_!"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseFilter(s, userColumns)
		if err != nil {
			return
		}
		// Nothing of the filter's text is SQL: only our words, and a value for each mark.
		rest := c.sql
		for _, w := range []string{"ESCAPE '!'", "LIKE", "IS NOT NULL", "and", "or", "1 = 1", "(", ")", "=", " "} {
			rest = strings.ReplaceAll(rest, w, "")
		}
		if rest != strings.Repeat("?", len(c.args)) {
			t.Errorf("%q: %q with %d values", s, c.sql, len(c.args))
		}
	})
}
