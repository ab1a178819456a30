package manifest

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	maxKey        = 63
	maxPrefix     = 253
	maxAnnotation = 5000
)

var (
	badMeta   = regexp.MustCompile(`[^A-Za-z0-9_.-]`)
	dnsPrefix = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
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
		if e := metaKey(k); e != "" && (kind == "label" || m[k] != nil) {
			c.fail("Metadata %s key error: %s", kind, e)
		}
		if m[k] == nil {
			out[k] = nil
			continue
		}
		s := fmt.Sprint(m[k])
		if e := metaText(s); e != "" && s != "" && kind == "label" {
			c.fail("Metadata label value error: %s", e)
		}
		if kind == "annotation" && len(s) > maxAnnotation {
			c.fail("Metadata annotation value error: '%s...' is greater than %d characters", s[:8], maxAnnotation)
		}
		out[k] = &s
	}
	return out
}

func metaKey(key string) string {
	prefix, name, has := strings.Cut(key, "/")
	if !has {
		prefix, name = "", key
	}
	switch {
	case key == "":
		return "key cannot be empty string"
	case strings.Count(key, "/") > 1:
		return "key has more than one '/'"
	case has && !dnsPrefix.MatchString(prefix):
		return fmt.Sprintf("prefix '%s' must be in valid dns format", prefix)
	case len(prefix) > maxPrefix:
		return fmt.Sprintf("prefix '%s...' is greater than %d characters", prefix[:8], maxPrefix)
	case strings.EqualFold(prefix, "cloudfoundry.org"):
		return "prefix 'cloudfoundry.org' is reserved"
	case name == "":
		return "key cannot be empty string"
	}
	return metaText(name)
}

func metaText(s string) string {
	alnum := func(b byte) bool { return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
	switch {
	case s == "":
		return ""
	case badMeta.MatchString(s):
		return fmt.Sprintf("'%s' contains invalid characters", s)
	case !alnum(s[0]) || !alnum(s[len(s)-1]):
		return fmt.Sprintf("'%s' starts or ends with invalid characters", s)
	case len(s) > maxKey:
		return fmt.Sprintf("'%s...' is greater than %d characters", s[:8], maxKey)
	}
	return ""
}
