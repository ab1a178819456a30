package script

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/kit/need"
	"ingot/test/world"
)

// A neighbour is hurt when its median answer takes hurt times as long beside an app that does harm as while that app stands
// still, turn about. The product's aim is 1.05 (docs/performance.md); a machine with other work on it shows that only in the
// figures that are logged, and a single series may be spoilt by such work.
const (
	hurt   = 1.75
	series = 3
	turns  = 3
)

// TestNeighbour: apps that do harm each get what CF says, and a neighbour answers all the while, as quickly as before.
func TestNeighbour(t *testing.T) {
	need.World(t, "runs ingot, containers and cf")
	w := world.New(t)
	app := start(t, w)
	if out, err := push(t.Context(), w, "steady", app).CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name, command, args, want string
		ends                      bool
	}{
		{"floods", `exec yes "$(head -c 200 /dev/zero | tr '\0' x)"`, "", "x{200}", false},
		{"floods-limited", `exec yes "$(head -c 200 /dev/zero | tr '\0' x)"`, "-l 10K", `exceeded log rate limit \(10240 bytes/sec\)`, false},
		{"tiny", `while :; do for ((i = 0; i < 100000; i++)); do echo $i; done; echo finished; done`, "", "finished", false},
		{"disk", `head -c 1G /dev/zero > big; rm -f big && echo removed && while :; do head -c 60M /dev/zero > big; done`, "-k 64M", "No space left on device", false},
		{"inodes", `for ((i = 0; ; i++)); do : > f$i || break; done; while :; do : > f; done 2> /dev/null`, "-k 64M", "No space left on device", false},
		{"memory", `exec tail /dev/zero`, "", `Exit status 137 \(out of memory\)`, true},
		{"forks", `while :; do sleep 1000 & done`, "-m 256M", "Resource temporarily unavailable", false},
		{"descriptors", `while exec {n}</dev/null; do :; done; while :; do : < /dev/null; done 2> /dev/null`, "", "Too many open files", false},
		{"crashes", `exit 1`, "", "Exit status 1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "harm-" + c.name
			args := append([]string{"-c", c.command, "-u", "process", "-m", "128M"}, strings.Fields(c.args)...) // the last -m counts
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			pushed := make(chan []byte, 1)
			go func() {
				out, _ := w.Command(ctx, "cf", append([]string{"push", name, "-p", app, "-b", "binary_buildpack"}, args...)...).CombinedOutput()
				pushed <- out // some of them never count as started
			}()
			w.Await(t, time.Minute, c.want, func() error {
				out, err := w.Command(t.Context(), "sh", "-c", "cf logs "+name+" --recent | grep -qE '"+c.want+"'").CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
			for try := 1; ; try++ {
				ratio := beside(t, w, name, c.ends)
				t.Logf("%s: %.2f times the usual", c.name, ratio)
				if ratio <= hurt {
					break
				}
				if try == series {
					t.Errorf("the neighbour took %.2f times as long beside %s", ratio, c.name)
					break
				}
			}
			w.Run(t, "cf", "delete", "-f", "-r", name)
			<-pushed
		})
	}
}

// beside is how much longer a neighbour's answer takes while an app does harm, the median of some turns. An app that ends
// by itself is started in each turn.
func beside(t *testing.T, w *world.World, name string, ends bool) float64 {
	t.Helper()
	var ratios []float64
	for range turns {
		if ends {
			w.Run(t, "cf", "stop", name)
		} else {
			signal(t, w, name, "STOP")
		}
		usual := latency(t, w)
		if ends {
			w.Run(t, "cf", "curl", "-f", "-X", "POST", "/v3/apps/"+guid(t, w, name)+"/actions/start") // cf start waits
		} else {
			signal(t, w, name, "CONT")
		}
		ratios = append(ratios, float64(latency(t, w))/float64(usual))
	}
	slices.Sort(ratios)
	return ratios[turns/2]
}

func guid(t *testing.T, w *world.World, name string) string {
	t.Helper()
	return strings.TrimSpace(w.Run(t, "cf", "app", "--guid", name))
}

// signal sends a signal to all processes of an app; some may have ended meanwhile.
func signal(t *testing.T, w *world.World, name, signal string) {
	t.Helper()
	w.Run(t, "sh", "-c", fmt.Sprintf(`grep -las '"application_name":"%s"' /proc/[0-9]*/environ | cut -d/ -f3 | xargs kill -s %s; true`, name, signal))
}

// latency is the median of the neighbour's answers in half a second, each of which must be a good one.
func latency(t *testing.T, w *world.World) time.Duration {
	t.Helper()
	const asked = 60
	out := w.Run(t, "curl", "-sk", "--rate", "120/s", "-o", "/dev/null", "-w", `%{http_code} %{time_total}\n`, fmt.Sprintf("https://steady.apps.ingot.test/?[1-%d]", asked))
	var all []time.Duration
	for line := range strings.Lines(out) {
		var code int
		var seconds float64
		if _, err := fmt.Sscan(line, &code, &seconds); err != nil || code != 200 {
			t.Errorf("the neighbour answered %q", line)
		}
		all = append(all, time.Duration(seconds*1e9))
	}
	slices.Sort(all)
	if len(all) != asked {
		t.Fatalf("%d answers", len(all))
	}
	return all[len(all)/2]
}
