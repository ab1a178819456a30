package line

import (
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"ingot/cf"
)

type sink struct {
	mu  sync.Mutex
	all []cf.Envelope
}

func (s *sink) Emit(e cf.Envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
}

func (s *sink) text() (out []string) {
	for _, e := range s.all {
		out = append(out, string(e.Log.Payload))
	}
	return out
}

func TestSplits(t *testing.T) {
	long := strings.Repeat("x", most)
	for name, c := range map[string]struct {
		writes []string
		want   []string
	}{
		"lines":            {[]string{"a\nb\n"}, []string{"a", "b"}},
		"in pieces":        {[]string{"a", "b", "\nc", "d\n"}, []string{"ab", "cd"}},
		"windows":          {[]string{"a\r\nb\r\n"}, []string{"a", "b"}},
		"empty lines":      {[]string{"\n\n\na\n\n"}, []string{"a"}},
		"no end":           {[]string{"a\nb"}, []string{"a", "b"}},
		"too long":         {[]string{long + "yz\n"}, []string{long, "yz"}},
		"too long, pieces": {[]string{long[:most-1], "yz", "\n"}, []string{long[:most-1] + "y", "z"}},
		"thrice too long":  {[]string{long + long + long + "\n"}, []string{long, long, long}},
		"not text":         {[]string{"\xff\xfe\n"}, []string{"\xff\xfe"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sink{}
			w := new(Crowd).Log(s, "app", "0", nil, -1).Writer("APP/PROC/WEB", true)
			for _, p := range c.writes {
				if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
					t.Fatalf("wrote %d, %v", n, err)
				}
			}
			w.Flush()
			if got := s.text(); strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("got %d lines, want %d", len(got), len(c.want))
			}
			for _, e := range s.all {
				if !e.Log.Err || e.Tags["source_type"] != "APP/PROC/WEB" || e.Tags["origin"] != "rep" || e.Tags["instance_id"] != "0" || e.Tags["source_id"] != "app" {
					t.Fatalf("envelope %+v", e)
				}
			}
		})
	}
}

func TestCutsBetweenCharacters(t *testing.T) {
	s := &sink{}
	w := new(Crowd).Log(s, "app", "0", nil, -1).Writer("APP", false)
	if _, err := w.Write([]byte("a" + strings.Repeat("é", most))); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	for _, l := range s.text() {
		if !utf8.ValidString(l) || len(l) > most {
			t.Fatalf("a line of %d bytes is cut badly", len(l))
		}
	}
	if got := strings.Join(s.text(), ""); got != "a"+strings.Repeat("é", most) {
		t.Error("text was lost")
	}
}

func TestRateLimit(t *testing.T) {
	s := &sink{}
	l := new(Crowd).Log(s, "app", "0", nil, 1024)
	w := l.Writer("APP/PROC/WEB", false)
	for range 5 {
		if _, err := w.Write([]byte(strings.Repeat("1", 1024) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	got := s.text()
	if len(got) != 2 || len(got[0]) != 1024 || got[1] != "app instance exceeded log rate limit (1024 bytes/sec)" {
		t.Fatalf("got %d lines: %.60q", len(got), got)
	}
	if l.Bytes() != 1024 {
		t.Errorf("%d bytes were counted", l.Bytes())
	}
	l.over = l.over.Add(-2 * pause) // as if time had passed
	if _, err := w.Write([]byte(strings.Repeat("1", 2000) + "\n")); err != nil {
		t.Fatal(err)
	}
	if got = s.text(); len(got) != 3 || !strings.HasPrefix(got[2], "app instance exceeded") {
		t.Errorf("it is told once only: %.60q", got)
	}
	l.Tell("CELL", "the platform's own lines have no limit")
	if len(s.text()) != 4 {
		t.Error("a line of the platform's was dropped")
	}
}

func TestNothingMayBeLogged(t *testing.T) {
	s := &sink{}
	w := new(Crowd).Log(s, "app", "0", nil, 0).Writer("APP", false)
	if _, err := w.Write([]byte("a\n")); err != nil || len(s.all) != 0 {
		t.Errorf("%v, %d lines", err, len(s.all))
	}
}

func TestRetagLeavesWhatWasEmitted(t *testing.T) {
	s := &sink{}
	l := new(Crowd).Log(s, "app", "0", map[string]string{"app_name": "old"}, -1)
	l.Tell("CELL", "one")
	l.Retag(map[string]string{"app_name": "new"})
	l.Tell("CELL", "two")
	if s.all[0].Tags["app_name"] != "old" || s.all[1].Tags["app_name"] != "new" {
		t.Errorf("%v %v", s.all[0].Tags, s.all[1].Tags)
	}
}

func BenchmarkWrite(b *testing.B) {
	w := new(Crowd).Log(drop{}, "app", "0", nil, -1).Writer("APP/PROC/WEB", false)
	chunk := []byte(strings.Repeat(strings.Repeat("x", 255)+"\n", 256))
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		w.take(chunk) // Write would wait
	}
}

type drop struct{}

func (drop) Emit(cf.Envelope) {}
