package row

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
)

// label is a row of the table that label selectors search.
type label struct {
	bun.BaseModel `bun:"table:rest_labels"`
	Resource      string `bun:"resource_guid"`
	Prefix        string `bun:"key_prefix"`
	Name          string `bun:"key_name"`
	Value         string `bun:"value"`
}

// SplitKey parts a label's key into prefix and name.
func SplitKey(key string) (prefix, name string) {
	if p, n, ok := strings.Cut(key, "/"); ok {
		return p, n
	}
	return "", key
}

func addLabels(ctx context.Context, tx bun.Tx, guid string, labels map[string]string) error {
	if len(labels) == 0 {
		return nil
	}
	rows := make([]label, 0, len(labels))
	for k, v := range labels {
		p, n := SplitKey(k)
		rows = append(rows, label{Resource: guid, Prefix: p, Name: n, Value: v})
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("insert labels: %w", err)
	}
	return nil
}

// Patch is metadata as a body gives it: a null removes the key.
type Patch struct {
	Labels      map[string]*string
	Annotations map[string]*string
}

// How many labels and annotations one object may have.
const maxLabels, maxAnnotations = 50, 200

// Apply changes m as a PATCH does. Too many labels or annotations are refused in CF's words.
func (p Patch) Apply(m *Metadata) error {
	if added, ok := merge(&m.Labels, p.Labels, maxLabels); !ok {
		return cf.Errorf(cf.KindUnprocessable, "LabelLimitExceeded",
			"Failed to add %d labels because it would exceed maximum of %d", added, maxLabels)
	}
	if added, ok := merge(&m.Annotations, p.Annotations, maxAnnotations); !ok {
		return cf.Errorf(cf.KindUnprocessable, "AnnotationLimitExceeded",
			"Failed to add %d annotations because it would exceed maximum of %d", added, maxAnnotations)
	}
	return nil
}

func merge(into *map[string]string, from map[string]*string, most int) (added int, ok bool) {
	if len(from) == 0 {
		return 0, true
	}
	out := make(map[string]string, len(*into)+len(from))
	maps.Copy(out, *into)
	for k, v := range from {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
			added++
		}
	}
	*into = out
	return added, len(out) <= most || added == 0
}
