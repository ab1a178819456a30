package line

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// taken writes chunks for so long and counts the bytes.
func taken(w *Writer, chunk string, long time.Duration) (bytes int) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		n, _ := w.Write([]byte(chunk)) // never fails
		bytes += n
	}
	return bytes
}

// A flood is held up to what costs little, whatever its lines are like, and a burst before it to little more in a second.
func TestFloodsAreHeldUp(t *testing.T) {
	for _, line := range []string{"\n", "x\n", strings.Repeat("x", 199) + "\n", strings.Repeat("x", 5000) + "\n", strings.Repeat("x", 8000), "x\r"} {
		synctest.Test(t, func(t *testing.T) {
			chunk := strings.Repeat(line, 32<<10/len(line))
			w := new(Crowd).Log(drop{}, "app", "0", nil, -1).Writer("APP/PROC/WEB", false)
			first := taken(w, chunk, time.Second)
			taken(w, chunk, 4*time.Second) // the allowance is used up
			long := taken(w, chunk, 10*time.Second)
			lines := strings.Count(line, "x") / max(strings.Count(line, "x"), 1)
			cost := len(line) + lineCost*lines
			if len(line) == 8000 {
				cost = len(line) // seven or eight of them are a line
			}
			// The last chunk of a time may end long after it.
			if n := first / len(line) * cost; n < 20<<20-len(chunk) || n > 22<<20+cost*len(chunk)/len(line) {
				t.Errorf("%.10q: %d bytes in a second at first", line, first)
			}
			if n := long / len(line) * cost; n < 9*4<<20-len(chunk) || n > 11*4<<20+cost*len(chunk)/len(line) {
				t.Errorf("%.10q: %d bytes in ten seconds of flood", line, long)
			}
		})
	}
}

// What fits into the log cache is taken as fast as it is written, or nearly so, and all of it.
func TestBurstsAreWhole(t *testing.T) {
	for _, text := range []string{strings.Repeat("x\n", 100_000), strings.Repeat("panic: "+strings.Repeat("x", 60)+"\n", 1<<20/68)} {
		synctest.Test(t, func(t *testing.T) {
			s, began := &sink{}, time.Now()
			w := new(Crowd).Log(s, "app", "0", nil, -1).Writer("APP/PROC/WEB", false)
			for c := range slices.Chunk([]byte(text), 32<<10) {
				_, _ = w.Write(bytes.Clone(c)) // never fails
			}
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("took %s", took)
			}
			if strings.Join(s.text(), "\n")+"\n" != text {
				t.Errorf("%d lines of %d", len(s.all), strings.Count(text, "\n"))
			}
		})
	}
}

// Floods share what one may take, down to a quarter each; who logs as apps do does not wait for them.
func TestFloodsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const floods = 8
		crowd, all := &Crowd{}, make(chan int)
		for range floods {
			go func() {
				l := crowd.Log(drop{}, "app", "0", nil, -1)
				flood := func(long time.Duration) (bytes int) {
					for end := time.Now().Add(long); time.Now().Before(end); bytes += 32 << 10 {
						l.rest(32 << 10)
					}
					return bytes
				}
				flood(6 * time.Second)
				all <- flood(8 * time.Second)
			}()
		}
		time.Sleep(6 * time.Second)
		l := crowd.Log(drop{}, "good", "0", nil, -1)
		w, began := l.Writer("APP/PROC/WEB", false), time.Now()
		for range 5_000 { // 1,000 a second
			time.Sleep(time.Millisecond)
			_, _ = w.Write([]byte(strings.Repeat("x", 199) + "\n")) // never fails
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("5 s of lines took %s", took)
		}
		for range floods {
			if n := <-all; n < 7<<20 || n > 10<<20 {
				t.Errorf("%d bytes of one flood in eight seconds", n)
			}
		}
		if crowd.floods.Load() != 0 {
			t.Error("somebody floods still")
		}
	})
}

// A build that floods does not wait; what it says when it does not flood any more comes whole.
func TestBuildsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := &sink{}, time.Now()
		l := new(Crowd).Log(s, "app", "0", nil, -1)
		l.Shed()
		streams := l.Streams("STG")
		flood := strings.Repeat("a flood\n", 4<<10)
		lost := 0
		for range 20 << 20 / len(flood) {
			_, _ = streams.Out.Write([]byte(flood)) // never fails
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the flood took %s", took)
		}
		_, _ = streams.Out.Write([]byte("half a line,"))
		time.Sleep(10 * time.Second)
		_, _ = streams.Out.Write([]byte(" and its end\nwhole\n"))
		streams.Flush()
		text := s.text()
		kept := 0
		for _, line := range text {
			n := 0
			if line == "a flood" {
				kept += len(line) + 1
			} else if c, err := fmt.Sscanf(line, "Log message output is too high. %d bytes dropped.", &n); c == 1 && err == nil {
				lost += n
			}
		}
		all := 20<<20/len(flood)*len(flood) + len("half a line, and its end\n")
		if kept < 100_000*8 || kept+lost != all || !slices.Contains(text, "whole") || slices.ContainsFunc(text, func(l string) bool { return strings.Contains(l, "line") }) {
			t.Errorf("%d kept, %d lost of %d; the last: %q", kept, lost, all, text[len(text)-3:])
		}
	})
}

func TestLossesAreToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := new(Crowd).Log(s, "app", "0", nil, -1)
		streams := l.Streams("APP/PROC/WEB")
		for range 15 {
			l.Lost(10)
			time.Sleep(100 * time.Millisecond)
		}
		streams.Flush()
		streams.Flush()
		want := "Log message output is too high. 10 bytes dropped.|Log message output is too high. 100 bytes dropped.|Log message output is too high. 40 bytes dropped."
		if got := strings.Join(s.text(), "|"); got != want {
			t.Errorf("got %s", got)
		}
		if e := s.all[0]; !e.Log.Err || e.Tags["source_type"] != "LGR" {
			t.Errorf("%+v", e)
		}
	})
}
