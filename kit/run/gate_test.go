package run

import (
	"bufio"
	"net"
	"testing"
	"testing/synctest"
)

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
