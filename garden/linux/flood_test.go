package linux

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program goes on, whatever it writes, while the engine is away. The next one gets the newest lines, and hears how much
// of the others was lost; so does a third one of what came after that.
func TestOutputWhileNobodyReads(t *testing.T) {
	world(t, "an engine that is killed")
	data := filepath.Join(worldFolder, "flood")
	p := startProcess(t, data)
	s := tiny("flood", "flood", "8080", "250000") // 2.8 MB
	s.Ports = []int{8080}
	p.do(order{Verb: "create", Spec: s})
	at := p.do(order{Verb: "list"}).Infos[0].Address + ":8080"
	for range 2 {
		p.kill()
		var c net.Conn
		await(t, "the program to listen", func() bool {
			var err error
			c, err = net.DialTimeout("tcp", at, 10*time.Second)
			return err == nil
		})
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
			t.Fatalf("%q: %v", b, err)
		}
		_ = c.Close()
		p = startProcess(t, data)
		p.do(order{Verb: "attach", Handle: "flood"})
		await(t, "the last line", func() bool {
			return strings.HasSuffix(p.do(order{Verb: "output", Handle: "flood"}).Output, "\nline 249999\n")
		})
		a := p.do(order{Verb: "output", Handle: "flood"})
		contiguous(t, a.Output)
		all := 0
		for i := range 250000 {
			all += len(fmt.Sprintln("line", i))
		}
		// But for the pieces of a line that was cut, and a newline instead.
		if got := len(a.Output) + int(a.Lost); len(a.Output) < 200_000 || got > all+1 || got < all-20 {
			t.Errorf("%d bytes came, %d were lost, %d were written", len(a.Output), a.Lost, all)
		}
	}
	p.do(order{Verb: "delete", Handle: "flood"})
	p.kill()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
}
