// Command table reads the output of `go test -bench`, hands it on, and ends with the figures that have a goal beside
// their goals. Its status is 1 when a benchmark failed or a figure is missing; a missed goal is only said, because the
// machine may be busy with other things.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// goal is a figure that the platform is to reach; least or most is 0 where the figure has no such bound.
type goal struct {
	benchmark, unit, what string
	least, most           float64
}

var goals = []goal{
	{"Platform/Ready", "s/ready", "ready after the start, s", 0, 2},
	{"Platform/Ready", "MB-RSS", "resident when idle, MB", 0, 150},
	{"Platform/Ready", "%-of-core", "idle, % of a core", 0, 1},
	{"Platform/Push", "s/push", "push of a prebuilt app, warm, s", 0, 5},
	{"Platform/ScaleOut", "s/routable", "from 1 to 2 instances routable, s", 0, 1},
	{"Platform/Express", "s/push", "push of the unchanged Express example, s", 0, 5},
	{"Platform/Ruby", "s/push", "push of the unchanged Ruby example, s", 0, 10},
	{"Platform/Rolling", "s/restart", "rolling restart of 3 instances, s", 0, 10},
	{"Platform/Fifty", "s/50-apps", "50 Express apps staged and running, s", 0, 300},
	{"Platform/Fifty", "MB-RSS", "resident with them, MB", 0, 0},
	{"WriteRow64", "writes/s", "durable writes with 64 writers, 1/s", 10000, 0},
	{"Platform/Router", "router-req/s", "router, requests/s", 0, 0},
	{"Platform/Router", "x-ReverseProxy", "router / bare ReverseProxy", 1, 0},
	{"Platform/Router", "x-haproxy", "router / HAProxy", 0, 0},
	{"Platform/Router", "x-nginx", "router / nginx", 0, 0},
	{"Platform/Router", "us-CPU/req", "router, CPU us a request", 0, 0},
	{"Platform/Router", "log-lines-lost", "access lines lost under that load", 0, 0},
	{"Platform/Used", "MB-RSS", "resident after all of this, MB", 0, 0},
}

func main() {
	got, failed, err := read(io.TeeReader(os.Stdin, os.Stdout))
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
	if !print(got) || failed {
		os.Exit(1)
	}
}

var cpus = regexp.MustCompile(`-\d+$`)

// read takes the figures from lines such as "BenchmarkX/Y-4   5   0.33 s/ready   78 MB-RSS".
func read(r io.Reader) (got map[string]float64, failed bool, err error) {
	got = map[string]float64{}
	in := bufio.NewScanner(r)
	for in.Scan() {
		f := strings.Fields(in.Text())
		if len(f) > 0 && (f[0] == "FAIL" || f[0] == "---" && f[1] == "FAIL:") {
			failed = true
		}
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := cpus.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				got[name+" "+f[i+1]] = v
			}
		}
	}
	return got, failed, in.Err()
}

// print tells whether all figures are there.
func print(got map[string]float64) bool {
	fmt.Printf("\n%-36s %10s  %s\n", "figure", "", "goal")
	all := true
	for _, g := range goals {
		v, ok := got[g.benchmark+" "+g.unit]
		word := ""
		switch {
		case !ok:
			fmt.Printf("%-36s %10s\n", g.what, "not measured")
			all = false
			continue
		case g.most > 0:
			word = verdict(v <= g.most, "at most", g.most)
		case g.least > 0:
			word = verdict(v >= g.least, "at least", g.least)
		}
		fmt.Printf("%-36s %10.4g  %s\n", g.what, v, word)
	}
	return all
}

func verdict(reached bool, words string, bound float64) string {
	if !reached {
		words = "MISSED: " + words
	}
	return words + " " + strconv.FormatFloat(bound, 'f', -1, 64)
}
