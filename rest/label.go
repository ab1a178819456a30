package rest

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"ingot/rest/row"
)

// CF's limits of metadata.
const (
	maxKey, maxPrefix, maxLabel, maxAnnotation = 63, 253, 63, 5000
	maxSelectors                               = 50
)

var (
	labelChars = regexp.MustCompile(`^[A-Za-z0-9_.\-]*$`)
	dnsName    = regexp.MustCompile(`^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])\.)+([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])$`)

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

// KeyFault says what is wrong with the key of a label or annotation, or "".
func KeyFault(key string) string {
	prefix, name, slash := strings.Cut(key, "/")
	if !slash {
		prefix, name = "", key
	}
	switch {
	case key == "":
		return "key cannot be empty string"
	case strings.Count(key, "/") > 1:
		return "key has more than one '/'"
	case slash && !dnsName.MatchString(prefix):
		return fmt.Sprintf("prefix '%s' must be in valid dns format", prefix)
	case len(prefix) > maxPrefix:
		return fmt.Sprintf("prefix '%s...' is greater than %d characters", first(prefix), maxPrefix)
	case strings.EqualFold(prefix, "cloudfoundry.org"):
		return "prefix 'cloudfoundry.org' is reserved"
	case name == "":
		return "key cannot be empty string"
	}
	return wordFault(name, maxKey)
}

// LabelFault says what is wrong with the value of a label, or "".
func LabelFault(value string) string {
	if value == "" {
		return ""
	}
	return wordFault(value, maxLabel)
}

// AnnotationFault says what is wrong with the value of an annotation, or "".
func AnnotationFault(value string) string {
	if utf8.RuneCountInString(value) > maxAnnotation {
		return fmt.Sprintf("'%s...' is greater than %d characters", first(value), maxAnnotation)
	}
	return ""
}

func wordFault(s string, longest int) string {
	switch {
	case !labelChars.MatchString(s):
		return fmt.Sprintf("'%s' contains invalid characters", s)
	case !alnum(s[0]) || !alnum(s[len(s)-1]):
		return fmt.Sprintf("'%s' starts or ends with invalid characters", s)
	case len(s) > longest:
		return fmt.Sprintf("'%s...' is greater than %d characters", first(s), longest)
	}
	return ""
}

func alnum(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// first is the beginning of a long value, for messages.
func first(s string) string {
	r := []rune(s)
	return string(r[:min(8, len(r))])
}

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
	if fault := KeyFault(key); fault != "" {
		return fault
	}
	for _, v := range values {
		if fault := LabelFault(v); fault != "" {
			return fault
		}
	}
	return ""
}

// checkMetadata says what is wrong with the metadata of a body, in CF's words without the leading "Metadata".
func checkMetadata(p row.Patch) (faults []string) {
	for _, k := range sorted(p.Labels) {
		if f := KeyFault(k); f != "" {
			faults = append(faults, "label key error: "+f)
		}
		if v := p.Labels[k]; v != nil {
			if f := LabelFault(*v); f != "" {
				faults = append(faults, "label value error: "+f)
			}
		}
	}
	for _, k := range sorted(p.Annotations) {
		v := p.Annotations[k]
		if v == nil {
			continue
		}
		if f := KeyFault(k); f != "" && *v != "" {
			faults = append(faults, "annotation key error: "+f)
		}
		if f := AnnotationFault(*v); f != "" {
			faults = append(faults, "annotation value error: "+f)
		}
	}
	return faults
}
