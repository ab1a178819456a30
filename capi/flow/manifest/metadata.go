package manifest

import (
	"fmt"
	"strings"

	"ingot/rest/row"
)

// metadata reads labels and annotations under the rules of CF's docs ("Metadata").
func (c *checker) metadata(a *App) {
	m, ok := c.in["metadata"].(map[string]any)
	if !ok {
		c.fail("Metadata must be an object")
		return
	}
	var extra []string
	for _, k := range sorted(m) {
		if k != "labels" && k != "annotations" {
			extra = append(extra, "'"+k+"'")
		}
	}
	if extra != nil {
		c.fail("Metadata has unexpected field(s): %s", strings.Join(extra, " "))
	}
	a.Labels = c.pairs(m["labels"], "label")
	a.Annotations = c.pairs(m["annotations"], "annotation")
}

func (c *checker) pairs(v any, kind string) map[string]*string {
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		c.fail("Metadata '%ss' is not an object", kind)
		return nil
	}
	out := map[string]*string{}
	for _, k := range sorted(m) {
		if e := row.KeyFault(k); e != "" && (kind == "label" || m[k] != nil) {
			c.fail("Metadata %s key error: %s", kind, e)
		}
		if m[k] == nil {
			out[k] = nil
			continue
		}
		s := fmt.Sprint(m[k])
		fault := row.AnnotationFault
		if kind == "label" {
			fault = row.LabelFault
		}
		if e := fault(s); e != "" {
			c.fail("Metadata %s value error: %s", kind, e)
		}
		out[k] = &s
	}
	return out
}
