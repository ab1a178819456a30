// Package mux carries the output of several programs, and how each of them ended, through one pipe, line by line.
//
// It promises that a reader who joins in the middle of a line is in step again with the next one, and that both sides
// hold at most Most bytes for a program. It keeps no line's end but its newline: a longer line becomes several.
//
// A line on the wire is RS, the program's number, US and the text; the end of a program is RS, its number, EOT and its
// exit code. Both end with a newline.
package mux

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// Most is the longest line in bytes.
const Most = 61440

const (
	begin = 0x1e // RS
	line  = 0x1f // US
	end   = 0x04 // EOT
)

// Pipe is the writing side. It may be used by many at once.
type Pipe struct {
	mu  sync.Mutex
	out io.Writer
}

// NewPipe writes to out.
func NewPipe(out io.Writer) *Pipe { return &Pipe{out: out} }

func (p *Pipe) write(program int, kind byte, text []byte) error {
	b := strconv.AppendInt([]byte{begin}, int64(program), 10)
	b = append(append(append(b, kind), text...), '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.out.Write(b)
	return err
}

// End tells how a program ended.
func (p *Pipe) End(program, code int) error {
	return p.write(program, end, strconv.AppendInt(nil, int64(code), 10))
}

// Writer takes the output of a program.
func (p *Pipe) Writer(program int) *Writer { return &Writer{pipe: p, program: program} }

// Writer takes one stream of a program, from one goroutine at a time.
type Writer struct {
	pipe    *Pipe
	program int
	part    []byte
}

// Write sends whole lines on.
func (w *Writer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		whole := i >= 0 && len(w.part)+i <= Most
		take := len(rest)
		switch {
		case whole:
			take = i
		case len(w.part)+len(rest) >= Most:
			take = Most - len(w.part)
		}
		w.part = append(w.part, rest[:take]...)
		rest = rest[take:]
		if whole {
			rest = rest[1:]
		}
		if whole || len(w.part) == Most {
			if err := w.send(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (w *Writer) send() error {
	err := w.pipe.write(w.program, line, w.part)
	w.part = w.part[:0]
	return err
}

// Close sends the line that has begun.
func (w *Writer) Close() error {
	if len(w.part) == 0 {
		return nil
	}
	return w.send()
}

// Splitter is the reading side: what is written to it goes to Line, and the ends of programs to End. Text that belongs to
// no program is that of program 0.
type Splitter struct {
	Line func(program int, text []byte) // with its newline; not to be kept
	End  func(program, code int)
	part []byte
}

// Write takes what came through the pipe, in any pieces.
func (s *Splitter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			s.part = append(s.part, rest...)
			if len(s.part) > Most+32 { // not of a Pipe
				s.take(append(s.part, '\n'))
				s.part = s.part[:0]
			}
			break
		}
		whole := rest[:i+1]
		if len(s.part) > 0 {
			whole = append(s.part, whole...)
			s.part = whole[:0]
		}
		s.take(whole)
		rest = rest[i+1:]
	}
	if len(s.part) == 0 && cap(s.part) > 4096 {
		s.part = nil
	}
	return len(p), nil
}

func (s *Splitter) take(whole []byte) {
	program, kind, text := parse(whole)
	if kind != end {
		s.Line(program, text)
		return
	}
	if code, err := strconv.Atoi(string(bytes.TrimSuffix(text, []byte("\n")))); err == nil && s.End != nil {
		s.End(program, code)
	}
}

// parse takes a line apart; one that is not framed is text of program 0.
func parse(whole []byte) (program int, kind byte, text []byte) {
	if whole[0] == begin {
		if i := bytes.IndexAny(whole[:min(len(whole), 16)], fmt.Sprintf("%c%c", line, end)); i > 1 {
			if n, err := strconv.Atoi(string(whole[1:i])); err == nil && n >= 0 {
				return n, whole[i], whole[i+1:]
			}
		}
	}
	return 0, line, whole
}
