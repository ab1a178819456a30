package rollout

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"ingot/capi/app"
	"ingot/rest"
	"ingot/rest/row"
)

// Body is what POST /v3/deployments takes.
type Body struct {
	App, Droplet, Revision string // guids
	Strategy               string
	Options                app.DeploymentOptions
	Metadata               row.Patch
}

// Take declares it. References are read leniently, as in Cloud Controller: what names nothing is told later.
func (t *Body) Take(b *rest.Body) {
	b.Metadata(&t.Metadata)
	type ref struct {
		GUID string `json:"guid"`
	}
	var of struct {
		App struct{ Data ref }
	}
	var droplet, revision ref
	lenient(b.Raw("relationships"), &of)
	lenient(b.Raw("droplet"), &droplet)
	lenient(b.Raw("revision"), &revision)
	t.App, t.Droplet, t.Revision = of.App.Data.GUID, droplet.GUID, revision.GUID

	t.Strategy = app.Rolling
	if raw := b.Raw("strategy"); !blank(raw) {
		if json.Unmarshal(raw, &t.Strategy) != nil || t.Strategy != app.Rolling && t.Strategy != app.Canary {
			b.Wrong("strategy", "'%s' is not a supported deployment strategy", strings.Trim(string(raw), `"`))
		}
	}
	if present(b.Raw("revision")) && present(b.Raw("droplet")) {
		b.Wrong("droplet", "Cannot set both fields 'droplet' and 'revision'")
	}
	t.Options.MaxInFlight = 1
	if raw := b.Raw("options"); present(raw) {
		t.takeOptions(b, raw)
	}
}

func lenient(raw json.RawMessage, v any) {
	if raw != nil {
		_ = json.Unmarshal(raw, v) // what is no guid names nothing
	}
}

func blank(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// present is Ruby's: neither absent nor null nor empty.
func present(raw json.RawMessage) bool {
	text := strings.Join(strings.Fields(string(raw)), "")
	return !blank(raw) && text != "{}" && text != "[]" && text != `""` && text != "false"
}

func (t *Body) takeOptions(b *rest.Body, raw json.RawMessage) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		b.Wrong("options", "must be an object")
		return
	}
	extra(b, "options", m, "canary", "max_in_flight", "web_instances", "memory_in_mb", "disk_in_mb", "log_rate_limit_in_bytes_per_second")
	o := &t.Options
	for _, n := range []struct {
		key string
		low int
		to  **int
	}{{"web_instances", 0, &o.Instances}, {"memory_in_mb", 1, &o.MemoryMB}, {"disk_in_mb", 1, &o.DiskMB}, {"log_rate_limit_in_bytes_per_second", -1, &o.LogRate}} {
		var v rest.Opt[int]
		if app.Number(b, n.key, m[n.key], &v, n.low); v.Given() {
			*n.to = &v.V
		}
	}
	if raw := m["max_in_flight"]; !blank(raw) && string(raw) != "false" {
		if json.Unmarshal(raw, &o.MaxInFlight) != nil || o.MaxInFlight < 1 {
			b.Wrong("max_in_flight", "must be an integer greater than 0")
		}
	}
	if raw := m["canary"]; !blank(raw) && string(raw) != "false" {
		t.takeCanary(b, raw)
	}
}

func extra(b *rest.Body, words string, m map[string]json.RawMessage, known ...string) {
	more := slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(k string) bool { return slices.Contains(known, k) })
	if len(more) > 0 {
		b.Wrong(words, "has unsupported key(s): %s", strings.Join(more, ", "))
	}
}

func (t *Body) takeCanary(b *rest.Body, raw json.RawMessage) {
	var m map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &m) != nil:
		b.Wrong("options_canary", "must be an object")
	case t.Strategy != app.Canary:
		b.Wrong("options_canary", "are only valid for Canary deployments")
	case !blank(m["steps"]):
		t.takeSteps(b, m["steps"])
	}
}

func (t *Body) takeSteps(b *rest.Body, raw json.RawMessage) {
	const words = "options_canary_steps"
	var steps []map[string]json.RawMessage
	if json.Unmarshal(raw, &steps) != nil || slices.ContainsFunc(steps, func(s map[string]json.RawMessage) bool { return s == nil }) {
		b.Wrong(words, "must be an array of objects")
		return
	}
	missing, wrong, weights := false, false, []int{}
	for _, s := range steps {
		extra(b, words, s, "instance_weight")
		var weight int
		missing = missing || s["instance_weight"] == nil
		wrong = wrong || blank(s["instance_weight"]) || json.Unmarshal(s["instance_weight"], &weight) != nil || weight < 1 || weight > 100
		weights = append(weights, weight)
	}
	if missing {
		b.Wrong(words, `missing key: "instance_weight"`)
	}
	if wrong {
		b.Wrong(words+"_instance_weight", "must be an Integer between 1-100 (inclusive)")
	} else if !slices.IsSorted(weights) {
		b.Wrong(words+"_instance_weight", "must be sorted in ascending order")
	}
	if len(weights) == 0 {
		return // as without steps
	}
	t.Options.Canary = &app.CanaryOption{}
	for _, w := range weights {
		t.Options.Canary.Steps = append(t.Options.Canary.Steps, app.CanaryStep{Weight: w})
	}
}
