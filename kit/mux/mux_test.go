package mux

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

type heard struct{ all []string }

func (h *heard) splitter() *Splitter {
	return &Splitter{
		Line: func(n int, text []byte) { h.all = append(h.all, fmt.Sprintf("%d:%s", n, text)) },
		End:  func(n, code int) { h.all = append(h.all, fmt.Sprintf("%d ended with %d", n, code)) },
	}
}

func TestThroughThePipe(t *testing.T) {
	var wire bytes.Buffer
	p := NewPipe(&wire)
	one, two := p.Writer(0), p.Writer(12)
	long := strings.Repeat("x", Most)
	for _, w := range []struct {
		to   *Writer
		text string
	}{{one, "a"}, {two, "other\n\x1e0\x1fforged\n"}, {one, "b\n\n"}, {two, long + "yz\n"}, {two, long + "\n"}, {one, "no end"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.End(12, 137); err != nil {
		t.Fatal(err)
	}
	want := []string{"12:other\n", "12:\x1e0\x1fforged\n", "0:ab\n", "0:\n", "12:" + long + "\n", "12:yz\n", "12:" + long + "\n", "12:\n", "0:no end\n", "12 ended with 137"}
	for _, size := range []int{1, 7, 4096, wire.Len()} {
		h := &heard{}
		s := h.splitter()
		for piece := range slices.Chunk(wire.Bytes(), size) {
			if _, err := s.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		got := slices.DeleteFunc(h.all, func(l string) bool { return l == "12:\n" })
		if !slices.Equal(got, slices.DeleteFunc(slices.Clone(want), func(l string) bool { return l == "12:\n" })) {
			t.Errorf("in pieces of %d: %.300q", size, got)
		}
	}
}

// A reader that joins late, and one that reads what no Pipe wrote, lose no text.
func TestForeignText(t *testing.T) {
	h := &heard{}
	s := h.splitter()
	for _, text := range []string{"rest of a line\n\x1e3\x1fnext\n", "\x1e\n", "\x1ex\x1fy\n", "\x1e-1\x1fz\n", "\x1e1\x04no number\n", strings.Repeat("y", 2*Most)} {
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"0:rest of a line\n", "3:next\n", "0:\x1e\n", "0:\x1ex\x1fy\n", "0:\x1e-1\x1fz\n"}; len(h.all) != 6 || !slices.Equal(h.all[:5], want) {
		t.Errorf("%.200q", h.all)
	}
	if len(s.part) > Most+32 {
		t.Errorf("%d bytes are held", len(s.part))
	}
}
