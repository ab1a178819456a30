package sql

import (
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"
)

// Once is a sub-select that is made once for a statement: MariaDB makes one that is a union anew for each row, unless
// it is a table.
func Once(set schema.QueryAppender) schema.QueryAppender { return once{set} }

type once struct{ set schema.QueryAppender }

// AppendQuery writes it for the dialect of gen.
func (o once) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	if gen.Dialect().Name() == dialect.MySQL {
		return bun.SafeQuery("SELECT * FROM (?) AS once", o.set).AppendQuery(gen, b)
	}
	return o.set.AppendQuery(gen, b)
}
