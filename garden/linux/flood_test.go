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

// What a program wrote last, while the engine was away, comes to the first one that takes it up: also when that is not the
// first one that started.
func TestLastOutput(t *testing.T) {
	world(t, "an engine that is killed")
	data := filepath.Join(worldFolder, "last")
	p := startProcess(t, data)
	for handle, args := range map[string][]string{"crash": {"crash", "1000"}, "lines": {"lines", "10", "100"}} {
		p.do(order{Verb: "create", Spec: tiny(handle, args...)})
	}
	p.kill()
	for _, h := range []string{"crash", "lines"} {
		await(t, h+" to end", func() bool {
			f, _ := filepath.Glob(filepath.Join("/run/ingot", folderID(data), "state", "*", "*", h, "exit.json"))
			return len(f) == 1
		})
	}
	for range 2 {
		p = startProcess(t, data)
		p.kill()
	}
	p = startProcess(t, data)
	for h, code := range map[string]int{"crash": 2, "lines": 33} {
		p.do(order{Verb: "attach", Handle: h}) // returns when all is there
		if x := p.do(order{Verb: "wait", Handle: h}).Exit; x.Code != code {
			t.Errorf("%s: %+v", h, x)
		}
	}
	if got := p.do(order{Verb: "output", Handle: "crash"}).Output; !strings.HasPrefix(got, "to crash\npanic: crashed\n") {
		t.Errorf("%q", got)
	}
	got := p.do(order{Verb: "output", Handle: "lines"}).Output
	if contiguous(t, got); !strings.HasSuffix(got, "line 99\n") {
		t.Errorf("%q", got)
	}
	for _, h := range []string{"crash", "lines"} {
		if a := <-p.begin(order{Verb: "attach", Handle: h}); a.Err == "" {
			t.Error("the output was taken twice")
		}
		p.do(order{Verb: "delete", Handle: h})
	}
	awaitNoLeak(t, data)
	p.kill()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
}
