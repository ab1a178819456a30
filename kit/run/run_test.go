package run

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	var told []string
	part := func(name string, start error) Member {
		return Member{Name: name,
			Start: func(context.Context) error { told = append(told, "+"+name); return start },
			Stop:  func(context.Context) error { told = append(told, "-"+name); return errors.New("no") }}
	}
	g := Group{Members: []Member{part("a", nil), {Name: "nothing"}, part("b", nil), part("c", errors.New("taken")), part("d", nil)}}
	if err := g.Start(t.Context()); err == nil || err.Error() != "c: taken" {
		t.Errorf("start: %v", err)
	}
	if err := g.Stop(t.Context()); err == nil || err.Error() != "stop b: no\nstop a: no" {
		t.Errorf("stop: %v", err)
	}
	if want := []string{"+a", "+b", "+c", "-b", "-a"}; !slices.Equal(told, want) {
		t.Errorf("%v, want %v", told, want)
	}
}

func TestGroupIsStoppedDuringStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stopped := false
	g := Group{Members: []Member{
		{Name: "a", Start: func(context.Context) error { cancel(); return nil }, Stop: func(context.Context) error { stopped = true; return nil }},
		{Name: "b", Start: func(context.Context) error { t.Error("b was started"); return nil }},
	}}
	if err := g.Start(ctx); !errors.Is(err, context.Canceled) || g.Stop(t.Context()) != nil || !stopped {
		t.Errorf("%v, a was stopped: %t", err, stopped)
	}
}

func TestGroupGivesUp(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	g := Group{Members: []Member{{Name: "a", Stop: func(context.Context) error { <-hang; return nil }}}}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Stop(ctx); err == nil || !strings.HasPrefix(err.Error(), "stop a: ") {
		t.Errorf("a part that hangs: %v", err)
	}
}
