package route

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"ingot/rest"
)

// maxOptions is how long the options of a route may be as JSON, in bytes.
const maxOptions = 1024

// Options is a change of a route's options as a body or a manifest says it; nil takes one away.
type Options map[string]*string

// takeOptions reads the field options of a body; hash tells whether the flag hash_based_routing is on.
func takeOptions(b *rest.Body, hash bool) Options {
	raw := b.Raw("options")
	if raw == nil {
		return nil
	}
	var in map[string]any
	if json.Unmarshal(raw, &in) != nil || in == nil {
		b.Fault("Options 'options' is not a valid object")
		return nil
	}
	if compact, err := json.Marshal(in); err == nil && len(compact) > maxOptions {
		b.Fault("Options must be smaller than %d bytes (actual size is %d bytes)", maxOptions, len(compact))
	}
	out, faults := ReadOptions(in, hash)
	for _, fault := range faults {
		b.Fault("Options %s", fault)
	}
	return out
}

// ReadOptions reads options of JSON or YAML and says what is wrong with them, in CF's words. Empty texts stand for null.
func ReadOptions(in map[string]any, hash bool) (out Options, faults []string) {
	known, algorithms := KnownOptions(hash)
	out = Options{}
	var unknown []string
	for _, k := range slices.Sorted(maps.Keys(in)) {
		text, isText := optionText(in[k])
		if !slices.Contains(known, k) {
			unknown = append(unknown, k)
		} else if !isText {
			faults = append(faults, rest.Humanize(k)+" must be a string")
		}
		if out[k] = nil; text != "" {
			out[k] = &text
		}
	}
	if unknown != nil {
		faults = slices.Insert(faults, 0, fmt.Sprintf("Unknown field(s): '%s'", strings.Join(unknown, "', '")))
	}
	if lb := out["loadbalancing"]; lb != nil && !slices.Contains(algorithms, *lb) {
		faults = append(faults, fmt.Sprintf("Loadbalancing must be one of '%s' if present", strings.Join(algorithms, ", ")))
	}
	if hash {
		faults = append(faults, out.HashFaults()...)
	}
	return out, faults
}

// KnownOptions are the names of options and of algorithms; hash tells whether the flag hash_based_routing is on.
func KnownOptions(hash bool) (options, algorithms []string) {
	options, algorithms = []string{"loadbalancing"}, []string{"round-robin", "least-connection"}
	if hash {
		options, algorithms = append(options, "hash_header", "hash_balance"), append(algorithms, "hash")
	}
	return options, algorithms
}

// optionText is an option as text; false for objects and lists.
func optionText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case map[string]any, []any:
		return "", false
	default:
		return fmt.Sprint(v), true
	}
}

// HashFaults says what is wrong with the options of the algorithm hash, in CF's words.
func (o Options) HashFaults() (faults []string) {
	lb, header, balance := o["loadbalancing"], o["hash_header"], o["hash_balance"]
	if header != nil && len([]rune(*header)) > 128 {
		faults = append(faults, "Hash header must be at most 128 characters")
	}
	if balance != nil {
		if words := balanceFault(*balance); words != "" {
			faults = append(faults, "Hash balance "+words)
		}
	}
	if lb == nil || *lb == "hash" {
		return faults
	}
	if header != nil {
		faults = append(faults, "Hash header can only be set when loadbalancing is hash")
	}
	if balance != nil {
		faults = append(faults, "Hash balance can only be set when loadbalancing is hash")
	}
	return faults
}

func balanceFault(balance string) string {
	n, err := strconv.ParseFloat(balance, 64)
	switch {
	case len([]rune(balance)) > 16:
		return "must be at most 16 characters"
	case err != nil:
		return "must be a numeric value"
	case n != 0 && !(n >= 1.1 && n <= 10):
		return "must be either 0 or between 1.1 and 10.0"
	}
	return ""
}

// Merge gives the route's options after a change.
func (o Options) Merge(has map[string]string) (map[string]string, error) {
	out := maps.Clone(has)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range o {
		if delete(out, k); v != nil {
			out[k] = *v
		}
	}
	if out["loadbalancing"] != "hash" {
		delete(out, "hash_header")
		delete(out, "hash_balance")
		return out, nil
	}
	if out["hash_header"] == "" {
		return nil, rest.Unprocessable("Hash header must be present when loadbalancing is set to hash.")
	}
	if n, err := strconv.ParseFloat(out["hash_balance"], 64); err == nil {
		out["hash_balance"] = strconv.FormatFloat(math.Round(n*10)/10, 'f', 1, 64)
	}
	return out, nil
}
