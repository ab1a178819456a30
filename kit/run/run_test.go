package run

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
)

func TestGroup(t *testing.T) {
	var did []string
	part := func(name string, start, stop error) Member {
		return Member{Name: name,
			Start: func(context.Context) error { did = append(did, "start "+name); return start },
			Stop:  func(context.Context) error { did = append(did, "stop "+name); return stop }}
	}
	refused, stuck := errors.New("refused"), errors.New("stuck")
	for _, c := range []struct {
		name        string
		members     []Member
		start, stop error
		want        []string
	}{
		{"all", []Member{part("a", nil, nil), {Name: "nothing"}, part("b", nil, nil)}, nil, nil,
			[]string{"start a", "start b", "stop b", "stop a"}},
		{"one cannot start", []Member{part("a", nil, nil), part("b", refused, nil), part("c", nil, nil)}, refused, nil,
			[]string{"start a", "start b", "stop a"}},
		{"one cannot stop", []Member{part("a", nil, nil), part("b", nil, stuck)}, nil, stuck,
			[]string{"start a", "start b", "stop b", "stop a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			did = nil
			g := Group{Members: c.members}
			if err := g.Start(t.Context()); !errors.Is(err, c.start) {
				t.Errorf("start: %v", err)
			}
			if err := g.Stop(t.Context()); !errors.Is(err, c.stop) {
				t.Errorf("stop: %v", err)
			}
			if err := g.Stop(t.Context()); err != nil {
				t.Errorf("stop again: %v", err)
			}
			if !slices.Equal(did, c.want) {
				t.Errorf("did %v, want %v", did, c.want)
			}
		})
	}
}

func TestGateWaitsForAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		g, passed := NewGate(ours), 0
		go func() {
			for _, name := range []string{"one", "two", "three", "four"} {
				g.Step(name)
				passed++
			}
		}()
		steps := bufio.NewReader(theirs)
		for i, want := range []string{"one\n", "two\n"} {
			if got, err := steps.ReadString('\n'); got != want || err != nil {
				t.Fatalf("step %q: %v", got, err)
			}
			synctest.Wait()
			if passed != i {
				t.Fatalf("%d steps passed without a word", passed)
			}
			if _, err := theirs.Write([]byte{'.'}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := theirs.Close(); err != nil { // nobody listens any more: the gate opens
			t.Fatal(err)
		}
		synctest.Wait()
		if passed != 4 {
			t.Errorf("%d steps passed", passed)
		}
	})
}

func TestNoGate(*testing.T) {
	var g *Gate
	g.Step("nobody asks")
}
