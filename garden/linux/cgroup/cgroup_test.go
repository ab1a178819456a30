package cgroup

import "testing"

func TestField(t *testing.T) {
	const text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
	if field(text, "oom_kill") != 3 || field(text, "none") != 0 || field("", "oom_kill") != 0 {
		t.Error("wrong number")
	}
}
