package manifest

import (
	"encoding/json"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

var errAlias = errors.New("anchors and aliases are refused")

// maxDepth bounds the nesting of a manifest; the parser before it needs stack for each level.
const maxDepth = 64

// decode returns the top mapping of the only document in b.
func decode(b []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("not a mapping")
	}
	return doc.Content[0], refuse(doc.Content[0], 0)
}

// refuse looks for anchors, aliases and nesting without end.
func refuse(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return errAlias
	}
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	for _, c := range n.Content {
		if err := refuse(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// field finds a key of a mapping; of a key that is there twice the last counts, as in Cloud Controller.
func field(m *yaml.Node, key string) (found *yaml.Node, ok bool) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			found, ok = m.Content[i+1], true
		}
	}
	return found, ok
}

func entryOf(n *yaml.Node) Entry {
	e := Entry{Value: map[string]any{}}
	if n.Kind != yaml.MappingNode {
		return e
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		if _, twice := e.Value[key]; !twice {
			e.Keys = append(e.Keys, key)
		}
		e.Value[key] = value(v)
		if key == "env" && v.Kind == yaml.MappingNode {
			e.env = scalars(v)
			e.Value[key] = shown(e.env)
		}
	}
	return e
}

// value turns a node into the words of JSON: nil, bool, int, float64, string, []any, map[string]any.
func value(n *yaml.Node) any {
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			list = append(list, value(c))
		}
		return list
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = value(n.Content[i+1])
		}
		return m
	}
	var v any
	switch n.ShortTag() {
	case "!!null", "!!bool", "!!int", "!!float":
		if n.Decode(&v) == nil {
			return v
		}
	}
	return n.Value
}

// scalars reads a mapping of texts. A number or boolean keeps the text that stands in the manifest; null is nil; a
// list or mapping becomes JSON.
func scalars(m *yaml.Node) map[string]*string {
	out := make(map[string]*string, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content); i += 2 {
		out[m.Content[i].Value] = text(m.Content[i+1])
	}
	return out
}

func text(n *yaml.Node) *string {
	if n.Kind == yaml.ScalarNode {
		if n.ShortTag() == "!!null" {
			return nil
		}
		return &n.Value
	}
	b, err := json.Marshal(value(n))
	if err != nil { // a float that JSON cannot say
		b = fmt.Append(nil, value(n))
	}
	s := string(b)
	return &s
}

func shown(env map[string]*string) map[string]any {
	out := make(map[string]any, len(env))
	for k, v := range env {
		if v != nil {
			out[k] = *v
		}
	}
	return out
}
