package line

import (
	"io"
	"sync/atomic"

	"ingot/cf"
	"ingot/kit/mux"
)

// Streams takes the output of a container: of its program, or of several ones that its launcher runs (kit/mux).
type Streams struct {
	cf.Streams

	log     *Log
	sources []string
	writers []*Writer
	first   atomic.Int32
}

// Streams makes them, with the source type of each program.
func (l *Log) Streams(sources ...string) *Streams {
	s := &Streams{log: l, sources: sources, Streams: cf.Streams{Lost: l.Lost}}
	side := func(stderr bool) io.Writer {
		from := len(s.writers)
		for _, source := range sources {
			s.writers = append(s.writers, l.Writer(source, stderr))
		}
		own := s.writers[from:]
		if len(own) == 1 {
			return own[0]
		}
		return &mux.Splitter{End: s.end, Line: func(program int, text []byte) {
			if program >= len(own) {
				program = 0
			}
			_, _ = own[program].Write(text) // never fails
		}}
	}
	s.Out, s.Err = side(false), side(true)
	return s
}

func (s *Streams) end(program, _ int) {
	if program < len(s.sources) {
		s.first.CompareAndSwap(0, int32(program))
	}
}

// First is the source type of the program that ended first and so ended the others; the first one's when nothing was said.
func (s *Streams) First() string { return s.sources[s.first.Load()] }

// Flush ends the lines that have begun.
func (s *Streams) Flush() {
	for _, w := range s.writers {
		w.Flush()
	}
	s.log.lose(0, 0)
}
