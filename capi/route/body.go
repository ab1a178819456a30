package route

import (
	"encoding/json"
	"slices"

	"ingot/rest"
)

// destinationsBody reads {"destinations": [{"app": {"guid", "process": {"type"}}, "port", "protocol", "weight"}]}.
type destinationsBody struct {
	replace bool
	to      []*Destination
}

func (t *destinationsBody) Take(b *rest.Body) {
	var list []json.RawMessage
	least := 1
	if t.replace {
		least = 0
	}
	raw := b.Raw("destinations")
	if raw == nil || json.Unmarshal(raw, &list) != nil || list == nil || len(list) < least || len(list) > maxDestinations {
		b.Wrong("destinations", "must be an array containing between %d and 100 destination objects.", least)
		return
	}
	faults, ports, weights := 0, map[string]int{}, 0
	for i, one := range list {
		d, bad := t.one(one)
		for _, words := range bad {
			b.Fault("Destinations[%d]: %s", i, words)
		}
		faults += len(bad)
		t.to = append(t.to, d)
		ports[d.AppGUID+"/"+d.Process]++
		if d.Weight > 0 {
			weights++
		}
	}
	for _, n := range ports {
		if n > maxPorts {
			b.Fault("Process must have at most 10 exposed ports.")
			return
		}
	}
	if faults == 0 && weights > 0 {
		t.weights(b, weights)
	}
}

func (t *destinationsBody) weights(b *rest.Body, weighted int) {
	sum := 0
	for _, d := range t.to {
		sum += d.Weight
	}
	switch {
	case weighted != len(t.to):
		b.Fault("Destinations cannot contain both weighted and unweighted destinations.")
	case sum != 100:
		b.Fault("Destinations must have weights that sum to 100.")
	}
}

func (t *destinationsBody) one(raw json.RawMessage) (*Destination, []string) {
	d := &Destination{Process: "web", Port: defaultPort, Protocol: "http1"}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil || m == nil {
		return d, []string{"must be an object."}
	}
	if m["app"] == nil {
		return d, []string{`must have an "app".`}
	}
	for k := range m {
		if k != "app" && k != "weight" && k != "port" && k != "protocol" {
			return d, []string{`must have only "app" and optionally "weight", "port" or "protocol".`}
		}
	}
	bad := takeApp(d, m["app"])
	if given(m["weight"]) {
		switch n, ok := whole(m["weight"]); {
		case !t.replace:
			bad = append(bad, "weighted destinations can only be used when replacing all destinations.")
		case !ok || n < 1 || n > 100:
			bad = append(bad, "weight must be a positive integer between 1 and 100.")
		default:
			d.Weight = n
		}
	}
	if given(m["port"]) {
		n, ok := whole(m["port"])
		if d.Port = n; !ok || n < 1024 || n > 65535 {
			bad = append(bad, "port must be a positive integer between 1024 and 65535 inclusive.")
		}
	}
	if given(m["protocol"]) {
		if json.Unmarshal(m["protocol"], &d.Protocol) != nil || !slices.Contains(protocols, d.Protocol) {
			bad = append(bad, badProtocol)
		}
	}
	return d, bad
}

var protocols = []string{"http1", "http2", "tcp"}

const badProtocol = "protocol must be 'http1', 'http2' or 'tcp'."

func takeApp(d *Destination, raw json.RawMessage) []string {
	var app map[string]json.RawMessage
	if json.Unmarshal(raw, &app) != nil || json.Unmarshal(app["guid"], &d.AppGUID) != nil || d.AppGUID == "" || len(d.AppGUID) > 200 {
		return []string{`app must have the structure {"guid": "app_guid"}`}
	}
	if !given(app["process"]) {
		return nil
	}
	var process map[string]json.RawMessage
	if json.Unmarshal(app["process"], &process) != nil || len(process) != 1 || json.Unmarshal(process["type"], &d.Process) != nil || d.Process == "" || len(d.Process) > 255 {
		return []string{`process must have the structure {"type": "process_type"}`}
	}
	return nil
}

func given(raw json.RawMessage) bool { return raw != nil && string(raw) != "null" }

func whole(raw json.RawMessage) (n int, ok bool) { return n, json.Unmarshal(raw, &n) == nil }
