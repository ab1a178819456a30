package rest

import (
	"regexp"
	"strings"

	"github.com/uptrace/bun"

	"ingot/rest/row"
)

const maxSelectors = 50

var (
	splitter  = regexp.MustCompile(`(?:\(.*?\)|[^,])+`)
	selectors = []struct {
		op string
		re *regexp.Regexp
	}{
		{"in", regexp.MustCompile(`^(.*?) in \((.*)\)$`)},
		{"notin", regexp.MustCompile(`^(.*?) notin \((.*)\)$`)},
		{"in", regexp.MustCompile(`^([\w\-./]+)==?(.*)$`)},
		{"notin", regexp.MustCompile(`^([\w\-./]+)!=(.*)$`)},
		{"exists", regexp.MustCompile(`^([\w\-./]+)()$`)},
		{"not_exists", regexp.MustCompile(`^!([\w\-./]+)()$`)},
	}
)

// selectLabels narrows a list to the rows whose labels meet a selector: a, !a, a=b, a==b, a!=b, a in (b,c),
// a notin (b,c), joined by commas.
func selectLabels(sel *bun.SelectQuery, text string, bad *faultsOf) *bun.SelectQuery {
	parts := splitter.FindAllString(text, -1)
	if len(parts) == 0 {
		bad.add("Missing label_selector value")
		return sel
	}
	if len(parts) > maxSelectors {
		bad.add("Too many label_selector requirements (maximum is %d)", maxSelectors)
		return sel
	}
	for _, p := range parts {
		key, op, values := requirement(p)
		if op == "" {
			bad.add("Invalid label_selector value")
			continue
		}
		if fault := selectorFault(key, values); fault != "" {
			bad.add("%s", fault)
			continue
		}
		prefix, name := row.SplitKey(key)
		sub := "SELECT resource_guid FROM rest_labels WHERE key_prefix = ? AND key_name = ?"
		args := []any{prefix, name}
		if op == "in" || op == "notin" {
			sub += " AND value IN (?)"
			args = append(args, bun.List(values))
		}
		not := ""
		if op == "notin" || op == "not_exists" {
			not = "NOT "
		}
		sel = sel.Where("guid "+not+"IN ("+sub+")", args...)
	}
	return sel
}

func requirement(text string) (key, op string, values []string) {
	for _, s := range selectors {
		if m := s.re.FindStringSubmatch(text); m != nil {
			values = strings.Split(m[2], ",")
			for len(values) > 1 && values[len(values)-1] == "" { // as Ruby splits
				values = values[:len(values)-1]
			}
			return m[1], s.op, values
		}
	}
	return "", "", nil
}

func selectorFault(key string, values []string) string {
	if fault := row.KeyFault(key); fault != "" {
		return fault
	}
	for _, v := range values {
		if fault := row.LabelFault(v); fault != "" {
			return fault
		}
	}
	return ""
}
