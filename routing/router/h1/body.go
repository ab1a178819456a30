package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Bounds of a chunked body's own lines.
const (
	maxChunkLine = 256
	maxTrailer   = 16 << 10
)

// Body reads the payload that follows a head. The zero value is an empty body.
type Body struct {
	r       *bufio.Reader
	left    int64 // bytes to come of the body or chunk; -1 = until the peer closes
	chunked bool
	begun   bool    // a chunk was read, its CRLF comes next
	ending  bool    // the last chunk was read, the trailer comes
	trailed int     // bytes of the trailer so far
	open    bool    // more comes
	Trailer []Field // once Read answered io.EOF: the fields after a chunked body that may be passed on
}

// Request gives the body of the request h.
func (h *Head) Request(r *bufio.Reader) Body {
	return Body{r: r, left: max(h.Length, 0), chunked: h.Chunked, open: h.Chunked || h.Length > 0}
}

// Response gives the body of the response h to a request with that method.
func (h *Head) Response(r *bufio.Reader, method string) Body {
	if method == "HEAD" || h.Status < 200 || h.Status == 204 || h.Status == 304 {
		return Body{}
	}
	b := Body{r: r, left: h.Length, chunked: h.Chunked, open: h.Chunked || h.Length != 0}
	if b.chunked {
		b.left = 0
	}
	return b
}

// Done tells that nothing more comes.
func (b *Body) Done() bool { return !b.open }

// UntilClose tells that only the end of the connection ends the body.
func (b *Body) UntilClose() bool { return b.open && !b.chunked && b.left < 0 }

// Chunked tells that the length is not known in advance.
func (b *Body) Chunked() bool { return b.chunked }

// Peek gives the whole body if it has a length and has arrived, without taking it.
func (b *Body) Peek() ([]byte, bool) {
	if !b.open {
		return nil, true
	}
	if b.chunked || b.left < 0 || int64(b.r.Buffered()) < b.left {
		return nil, false
	}
	p, err := b.r.Peek(int(b.left))
	return p, err == nil
}

// Take takes what Peek gave.
func (b *Body) Take() {
	if b.open {
		_, _ = b.r.Discard(int(b.left)) // Peek saw them
		b.open = false
	}
}

// Buffered tells whether Read would return something without waiting for the peer. Of a chunked body, the line ends and
// the line of a next chunk alone are nothing.
func (b *Body) Buffered() bool {
	if !b.open {
		return true
	}
	n := b.r.Buffered()
	if !b.chunked || b.left > 0 || n == 0 {
		return n > 0
	}
	have, _ := b.r.Peek(n)
	if b.begun {
		have = have[min(2, n):]
	}
	i := bytes.IndexByte(have, '\n')
	return i >= 0 && i+1 < len(have)
}

// Read gives what has arrived. io.EOF: the body is complete; io.ErrUnexpectedEOF: it was cut; an *Error: it is malformed.
func (b *Body) Read(p []byte) (int, error) {
	if !b.open {
		return 0, io.EOF
	}
	if b.chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil || !b.open {
			if err == nil {
				err = io.EOF
			}
			return 0, err
		}
	}
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	if b.left < 0 {
		b.open = !errors.Is(err, io.EOF)
		return n, err
	}
	b.left -= int64(n)
	if b.left == 0 && !b.chunked {
		b.open = false
	}
	return n, cut(err)
}

func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextChunk reads the line before a chunk, and the trailer after the last. It takes whole lines only, so that a Read that
// ran into a deadline can be repeated.
func (b *Body) nextChunk() error {
	if b.begun {
		crlf, err := b.r.Peek(2)
		if err != nil {
			return cut(err)
		}
		if string(crlf) != "\r\n" {
			return bad("chunk without CRLF")
		}
		_, _ = b.r.Discard(2)
		b.begun = false
	}
	if b.ending {
		return b.trailer()
	}
	line, err := b.line(maxChunkLine)
	if err != nil {
		return err
	}
	if b.left, err = chunkSize(line); err != nil {
		return err
	}
	if b.ending = b.left == 0; b.ending {
		return b.trailer()
	}
	b.begun = true
	return nil
}

func chunkSize(line string) (n int64, err error) {
	size, _, _ := strings.Cut(line, ";") // extensions are for this hop only
	if !isValue(line) || size == "" || len(size) > 15 {
		return 0, bad("bad chunk size")
	}
	for i := range len(size) {
		c := size[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, bad("bad chunk size")
		}
		n = n<<4 | int64(c)
	}
	return n, nil
}

func (b *Body) trailer() error {
	for {
		line, err := b.line(4096)
		if err != nil {
			return err
		}
		if line == "" {
			b.open = false
			return nil
		}
		if b.trailed += len(line); b.trailed > maxTrailer {
			return &Error{431, "trailer too large"}
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		if f.Kind == Other { // nothing of framing, routing or trust
			b.Trailer = append(b.Trailer, f)
		}
	}
}

// line takes a whole line and cuts its CRLF.
func (b *Body) line(limit int) (string, error) {
	for seen := 0; ; {
		have, _ := b.r.Peek(b.r.Buffered())
		if i := bytes.IndexByte(have[seen:], '\n'); i >= 0 {
			i += seen
			line := string(have[:i+1])
			_, _ = b.r.Discard(i + 1)
			if !strings.HasSuffix(line, "\r\n") {
				return "", bad("line without CRLF")
			}
			return line[:i-1], nil
		}
		if seen = len(have); seen >= min(limit, b.r.Size()) {
			return "", bad("line too long")
		}
		if _, err := b.r.Peek(seen + 1); err != nil {
			return "", cut(err)
		}
	}
}

// Room before and after a piece of a body in a buffer, for its chunk line and CRLF.
const (
	ChunkHead = 10
	ChunkTail = 2
)

// Chunk makes a chunk of the n bytes after the first ChunkHead of room.
func Chunk(room []byte, n int) []byte {
	var hex [ChunkHead]byte
	h := append(strconv.AppendInt(hex[:0], int64(n), 16), '\r', '\n')
	at := ChunkHead - len(h)
	copy(room[at:], h)
	copy(room[ChunkHead+n:], "\r\n")
	return room[at : ChunkHead+n+ChunkTail]
}
