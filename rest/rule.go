package rest

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rule checks a string of a body.
type Rule func(b *Body, key string, o *Opt[string])

// Required refuses absence, null and blanks.
func Required(b *Body, key string, o *Opt[string]) {
	if !o.Given() && b.Sound(key) || o.Given() && strings.TrimSpace(o.V) == "" {
		b.Wrong(key, "can't be blank")
	}
}

// Length refuses strings that are too short or too long, in characters.
func Length(shortest, longest int) Rule {
	return func(b *Body, key string, o *Opt[string]) {
		n := utf8.RuneCountInString(o.V)
		switch {
		case !o.Given():
		case n < shortest:
			b.Wrong(key, "is too short (minimum is %d character%s)", shortest, map[bool]string{true: "s"}[shortest != 1])
		case n > longest:
			b.Wrong(key, "is too long (maximum is %d characters)", longest)
		}
	}
}

// Pattern refuses strings that do not match, in those words.
func Pattern(re *regexp.Regexp, words string) Rule {
	return func(b *Body, key string, o *Opt[string]) {
		if o.Given() && !re.MatchString(o.V) {
			b.Wrong(key, "%s", words)
		}
	}
}

// Among refuses all but the named values, in those words.
func Among(words string, allowed ...string) Rule {
	return func(b *Body, key string, o *Opt[string]) {
		if o.Given() && !slices.Contains(allowed, o.V) {
			b.Wrong(key, "%s", words)
		}
	}
}

var printable = regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]+$`)

// Printable is CF's rule for names of organizations, spaces, apps: no escaped characters such as newlines.
var Printable = Pattern(printable, "must not contain escaped characters")
