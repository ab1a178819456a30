package row

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// CF's limits of metadata, in characters.
const maxKey, maxPrefix, maxLabel, maxAnnotation = 63, 253, 63, 5000

var (
	labelChars = regexp.MustCompile(`^[A-Za-z0-9_.\-]*$`)
	dnsName    = regexp.MustCompile(`^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])\.)+([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])$`)
)

// Faults says what is wrong with the metadata of a body, in CF's words without the leading "Metadata".
func (p Patch) Faults() (faults []string) {
	for _, k := range slices.Sorted(maps.Keys(p.Labels)) {
		if f := KeyFault(k); f != "" {
			faults = append(faults, "label key error: "+f)
		}
		if v := p.Labels[k]; v != nil {
			if f := LabelFault(*v); f != "" {
				faults = append(faults, "label value error: "+f)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(p.Annotations)) {
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
