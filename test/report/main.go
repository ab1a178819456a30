// Report reads the JSON stream of `go test -json` and prints it for people: failures whole, then the count of tests and
// skips and the ten slowest tests. It ends with status 1 when a test failed or, with -noskip, was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

type report struct {
	passed, failed, skipped int
	output                  map[string][]string
	slow                    []event
	broken                  bool
}

func main() {
	noskip := flag.Bool("noskip", false, "a skipped test is a failure")
	flag.Parse()
	r := &report{output: map[string][]string{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // not an event: what the go command itself says
			continue
		}
		r.add(e)
	}
	r.print()
	if in.Err() != nil {
		fmt.Println("reading the test stream:", in.Err())
		os.Exit(1)
	}
	if r.failed > 0 || r.broken || r.passed == 0 || *noskip && r.skipped > 0 {
		os.Exit(1)
	}
}

func (r *report) add(e event) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Package == "" {
			id = e.ImportPath
		}
		r.output[id] = append(r.output[id], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.pkg(e)
			return
		}
		r.test(e, id)
	case "build-fail":
		r.broken = true
		fmt.Print(strings.Join(r.output[e.ImportPath], ""))
	}
}

func (r *report) pkg(e event) {
	fmt.Printf("%-5s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
	if e.Action == "fail" {
		r.broken = true
		fmt.Print(strings.Join(r.output[e.Package+" "], ""))
	}
}

func (r *report) test(e event, id string) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Printf("--- FAIL %s %s\n%s", e.Package, e.Test, strings.Join(r.output[id], ""))
	case "skip":
		r.skipped++
		fmt.Printf("--- SKIP %s %s\n%s", e.Package, e.Test, strings.Join(r.output[id], ""))
	}
	delete(r.output, id)
	r.slow = append(r.slow, e)
}

func (r *report) print() {
	sort.Slice(r.slow, func(i, j int) bool { return r.slow[i].Elapsed > r.slow[j].Elapsed })
	fmt.Println("ten slowest:")
	for _, e := range r.slow[:min(10, len(r.slow))] {
		fmt.Printf("%8.1fs  %s %s\n", e.Elapsed, e.Package, e.Test)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
