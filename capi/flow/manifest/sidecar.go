package manifest

import (
	"fmt"
	"math"
	"strings"
)

// sidecars reads "sidecars".
func (c *checker) sidecars() (out []Sidecar) {
	list, ok := c.in["sidecars"].([]any)
	if !ok {
		if c.has("sidecars") {
			c.fail("Sidecars must be an array of sidecar configurations")
		}
		return nil
	}
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			c.fail("Sidecars must be an array of sidecar configurations")
			return nil
		}
		s, faults := sidecar(m)
		for _, fault := range faults {
			if s.Name != "" {
				c.fail("Sidecar %q: %s", s.Name, fault)
			} else {
				c.fail("Sidecar %s", strings.ToLower(fault))
			}
		}
		out = append(out, s)
	}
	return out
}

// sidecar reads one item of "sidecars" and says what is wrong with it.
func sidecar(m map[string]any) (s Sidecar, faults []string) {
	text := func(key, word string) string {
		v, ok := m[key].(string)
		if m[key] == nil || ok && strings.TrimSpace(v) == "" {
			faults = append(faults, word+" can't be blank")
		}
		if !ok {
			faults = append(faults, word+" must be a string")
		}
		return v
	}
	s.Name, s.Command = text("name", "Name"), text("command", "Command")
	types, ok := m["process_types"].([]any)
	if !ok {
		faults = append(faults, "Process types must be an array")
	}
	for _, t := range types {
		s.Types = append(s.Types, fmt.Sprint(t))
	}
	if len(s.Types) == 0 {
		faults = append(faults, "Process types must have at least 1 process_type")
	}
	if v := m["memory"]; v != nil {
		n, err := parseBytes(fmt.Sprint(v))
		switch mb := n >> 20; {
		case err != nil:
			faults = append(faults, "Memory in mb is not a number")
		case mb <= 0 || mb > math.MaxInt32:
			faults = append(faults, "Memory in mb must be greater than 0")
		default:
			s.MemoryMB = ptr(int(mb))
		}
	}
	return s, faults
}
