package line

import (
	"slices"
	"testing"

	"ingot/kit/mux"
)

func (s *sink) sourced() (out []string) {
	for _, e := range s.all {
		out = append(out, e.Tags["source_type"]+": "+string(e.Log.Payload))
	}
	return out
}

func TestStreamsOfOneProgram(t *testing.T) {
	s := &sink{}
	st := new(Crowd).Log(s, "app", "0", nil, -1).Streams("APP/PROC/WEB")
	for _, text := range []string{"a\nb", "\n\x1e1\x1fits own\n", "c"} {
		if _, err := st.Out.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	st.Flush()
	if want := []string{"APP/PROC/WEB: a", "APP/PROC/WEB: b", "APP/PROC/WEB: \x1e1\x1fits own", "APP/PROC/WEB: c"}; !slices.Equal(s.sourced(), want) || st.First() != "APP/PROC/WEB" {
		t.Errorf("%q, %s", s.sourced(), st.First())
	}
}

func TestStreamsOfSidecars(t *testing.T) {
	s := &sink{}
	st := new(Crowd).Log(s, "app", "0", nil, -1).Streams("P", "P/SIDECAR/A", "P/SIDECAR/B")
	if st.First() != "P" {
		t.Errorf("nothing ended, but %s", st.First())
	}
	out, stderr := mux.NewPipe(st.Out), mux.NewPipe(st.Err)
	for _, w := range []struct {
		to   *mux.Writer
		text string
	}{{out.Writer(0), "main\n"}, {out.Writer(2), "b\n"}, {stderr.Writer(1), "a\n"}, {out.Writer(9), "nobody's\n"}} {
		if _, err := w.to.Write([]byte(w.text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []int{9, 2, 1} {
		if err := out.End(program, 1); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"P: main", "P/SIDECAR/B: b", "P/SIDECAR/A: a", "P: nobody's"}; !slices.Equal(s.sourced(), want) || !s.all[2].Log.Err {
		t.Errorf("%q", s.sourced())
	}
	if st.First() != "P/SIDECAR/B" {
		t.Errorf("%s ended first", st.First())
	}
}
