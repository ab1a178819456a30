package env

import (
	"math"
	"slices"
	"testing"

	"ingot/cf"
)

func has(t *testing.T, env []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(env, w) {
			t.Errorf("no %q in %q", w, env)
		}
	}
}

func TestPortsThatTheHostDoesNotOffer(t *testing.T) {
	a := cf.ActualLRP{Host: "10.0.0.1", Address: "10.254.0.2", Ports: []cf.PortMapping{{Container: 8080}}}
	env := LRP(&cf.DesiredLRP{Ports: []int{8080}}, a)
	has(t, env, `CF_INSTANCE_PORTS=[{"internal":8080}]`, "CF_INSTANCE_PORT=", "CF_INSTANCE_ADDR=", "PORT=8080")
}

func TestNoPorts(t *testing.T) {
	env := LRP(&cf.DesiredLRP{Env: []string{"PORT=1"}}, cf.ActualLRP{})
	has(t, env, "CF_INSTANCE_PORTS=[]", "CF_INSTANCE_PORT=", "PORT=1", `VCAP_APPLICATION={"host":"0.0.0.0","instance_id":"","instance_index":0}`)
}

func TestTask(t *testing.T) {
	env := Task(&cf.Task{Env: []string{"CF_INSTANCE_IP=mine", "A=1", "A=2=3"}, Limits: cf.Limits{MemoryMB: 256}, VCAPApp: map[string]any{"name": "<é>", "mem": 256}}, "10.0.0.1", "10.254.0.2")
	has(t, env, "CF_INSTANCE_IP=10.0.0.1", "CF_INSTANCE_INTERNAL_IP=10.254.0.2", "A=2=3", "MEMORY_LIMIT=256m", `VCAP_APPLICATION={"mem":256,"name":"<é>"}`)
	if slices.Contains(env, "A=1") {
		t.Error("a variable is there twice")
	}
}

func TestWhatIsNoVariableIsDropped(t *testing.T) {
	got := last([]string{"", "=x", "noequals", "A=1", "B=\x00", "C="})
	if !slices.Equal(got, []string{"A=1", "C="}) {
		t.Errorf("got %q", got)
	}
}

func TestVCAPApplicationThatIsNoJSON(t *testing.T) {
	if got := vcapApplication(map[string]any{"x": math.Inf(1)}, nil); got != "VCAP_APPLICATION={}" {
		t.Errorf("got %s", got)
	}
}

func TestTheLRPIsNotChanged(t *testing.T) {
	d := &cf.DesiredLRP{Env: make([]string, 0, 50), VCAPApp: map[string]any{}, Ports: []int{1}}
	LRP(d, cf.ActualLRP{})
	if len(d.VCAPApp) != 0 || len(d.Env) != 0 {
		t.Errorf("changed: %+v", d)
	}
}
