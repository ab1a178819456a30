// Package h1 reads HTTP/1.1 messages (RFC 9112) for a proxy, as strictly as a proxy must.
//
// It promises that a message it accepts has exactly one reading: one framing (Content-Length or chunked, never both),
// CRLF line ends, no folded lines, no control characters, one Host. So what is written out again from a Head means the
// same to every recipient, and nothing can be smuggled past it. Everything read is bounded. The head of a response may
// have bare LF line ends (RFC 9112 §2.2), as scripts write them.
// It will not open connections, speak HTTP/2, or repair a broken message.
package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// Field is one header line.
type Field struct {
	Name, Value string
	Kind        Kind
}

// Head is the start of a request or response. Its strings share one copy of the message's head and stay valid.
type Head struct {
	Method, Target string // of a request
	Status         int    // of a response
	Reason         string
	Minor          int // HTTP/1.Minor
	Fields         []Field

	Host    string // of a request
	Length  int64  // Content-Length; -1 = none
	Chunked bool
	Close   bool   // the sender wants the connection closed after this message
	Upgrade string // the protocol that Connection and Upgrade ask for, or ""
	Expect  bool   // Expect: 100-continue
	options string // the Connection header's list, joined by commas
	bareLF  bool   // lines may end without CR
}

// Error is a message that must not be passed on. Status is what a server answers to it.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

func bad(text string) *Error { return &Error{400, text} }

// Bounds of a message.
const (
	MaxHead   = 1 << 20 // bytes of a head, as gorouter's
	maxFields = 1000
)

// ReadHead reads the bytes of a head with its final empty line. slow is called once if they are not all there yet, so
// that the caller can set a deadline. io.EOF: the peer closed before the first byte.
func ReadHead(r *bufio.Reader, slow func()) (string, error) {
	if _, err := r.Peek(1); err != nil {
		return "", err
	}
	b, _ := r.Peek(r.Buffered())
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' { // one empty line before a request is forgiven (RFC 9112 §2.2)
		_, _ = r.Discard(2)
		b = b[2:]
	}
	if i := bytes.Index(b, []byte("\n\r\n")); i >= 0 && !bytes.Contains(b[:i], []byte("\n\n")) {
		s := string(b[:i+3])
		_, _ = r.Discard(i + 3)
		return s, nil
	}
	slow()
	return readLines(r)
}

// readLines is ReadHead's way for what does not fit the buffer or came in pieces.
func readLines(r *bufio.Reader) (string, error) {
	var b []byte
	for whole := true; ; {
		line, err := r.ReadSlice('\n')
		b = append(b, line...)
		if len(b) > MaxHead {
			return "", &Error{431, "request header fields too large"}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			whole = false
			continue
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
		if whole && (len(line) == 1 || len(line) == 2 && line[0] == '\r') {
			if len(b) <= 2 { // the forgiven empty line
				b = b[:0]
				continue
			}
			return string(b), nil
		}
		whole = true
	}
}

// ParseRequest reads a request's head from s, which ReadHead returned.
func (h *Head) ParseRequest(s string) error {
	h.reset()
	line, rest, ok := h.cut(s)
	if !ok {
		return bad("line without CRLF")
	}
	method, after, ok1 := strings.Cut(line, " ")
	target, proto, ok2 := strings.Cut(after, " ")
	if !ok1 || !ok2 || !isToken(method) || !isTarget(target) {
		return bad("malformed request line")
	}
	if err := h.version(proto); err != nil {
		return err
	}
	h.Method, h.Target = method, target
	if err := h.parseFields(rest); err != nil {
		return err
	}
	if h.Chunked && h.Minor == 0 {
		return bad("Transfer-Encoding in HTTP/1.0")
	}
	return h.settleHost()
}

// ParseResponse reads a response's head from s, which ReadHead returned.
func (h *Head) ParseResponse(s string) error {
	h.reset()
	h.bareLF = true
	line, rest, ok := h.cut(s)
	if !ok {
		return bad("line without CRLF")
	}
	proto, after, _ := strings.Cut(line, " ")
	if err := h.version(proto); err != nil {
		return err
	}
	code, reason, _ := strings.Cut(after, " ")
	if len(code) != 3 || !isValue(reason) {
		return bad("malformed status line")
	}
	for i := range 3 {
		if code[i] < '0' || code[i] > '9' {
			return bad("malformed status")
		}
		h.Status = h.Status*10 + int(code[i]-'0')
	}
	if h.Status < 100 {
		return bad("malformed status")
	}
	h.Reason = reason
	return h.parseFields(rest)
}

func (h *Head) reset() {
	clear(h.Fields) // so that no old message is kept alive
	*h = Head{Fields: h.Fields[:0], Length: -1}
}

// cut takes the first line off s, without its end.
func (h *Head) cut(s string) (line, rest string, ok bool) {
	line, rest, ok = strings.Cut(s, "\n")
	line, crlf := strings.CutSuffix(line, "\r")
	return line, rest, ok && (crlf || h.bareLF)
}

func (h *Head) version(proto string) error {
	switch proto {
	case "HTTP/1.1":
		h.Minor = 1
	case "HTTP/1.0":
		h.Minor = 0
	default:
		if strings.HasPrefix(proto, "HTTP/") {
			return &Error{505, "HTTP version not supported"}
		}
		return bad("malformed HTTP version")
	}
	return nil
}

func (h *Head) parseFields(s string) error {
	hosts, coded := 0, false
	for {
		line, rest, ok := h.cut(s)
		if !ok {
			return bad("line without CRLF")
		}
		if line == "" && rest == "" {
			break
		}
		s = rest
		if len(h.Fields) == maxFields {
			return &Error{431, "too many header fields"}
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		h.Fields = append(h.Fields, f)
		switch f.Kind {
		case Host:
			h.Host = f.Value
			hosts++
		case ContentLength:
			if err := h.length(f.Value); err != nil {
				return err
			}
		case TransferEncoding:
			if coded || !strings.EqualFold(f.Value, "chunked") {
				return &Error{501, "transfer encoding not supported"}
			}
			coded, h.Chunked = true, true
		case Connection:
			if h.options != "" {
				h.options += ","
			}
			h.options += f.Value
		case Upgrade:
			h.Upgrade = f.Value
		case Expect:
			h.Expect = strings.EqualFold(f.Value, "100-continue")
		}
	}
	if h.Chunked && h.Length >= 0 {
		return bad("both Content-Length and Transfer-Encoding")
	}
	if hosts > 1 {
		return bad("more than one Host")
	}
	h.Close = h.Named("close") || h.Minor == 0 && !h.Named("keep-alive")
	if h.Upgrade != "" && !h.Named("upgrade") {
		h.Upgrade = ""
	}
	return nil
}

// parseField reads one line without its CRLF.
func parseField(line string) (Field, error) {
	i := strings.IndexByte(line, ':')
	if i <= 0 || !isToken(line[:i]) { // folded lines, too: they begin with a space
		return Field{}, bad("malformed header field")
	}
	f := Field{Name: line[:i], Value: strings.Trim(line[i+1:], " \t")}
	if !isValue(f.Value) {
		return Field{}, bad("malformed header value")
	}
	f.Kind = kindOf(f.Name)
	return f, nil
}

// length takes a Content-Length: digits only, once.
func (h *Head) length(v string) error {
	if h.Length >= 0 || v == "" || len(v) > 18 {
		return bad("bad Content-Length")
	}
	var n int64
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return bad("bad Content-Length")
		}
		n = n*10 + int64(v[i]-'0')
	}
	h.Length = n
	return nil
}

// settleHost brings an absolute target into origin form; its authority goes before Host (RFC 9112 §3.2.2).
func (h *Head) settleHost() error {
	t := h.Target
	for _, scheme := range []string{"http://", "https://"} {
		if len(t) >= len(scheme) && strings.EqualFold(t[:len(scheme)], scheme) {
			t = t[len(scheme):]
			cut := strings.IndexAny(t, "/?")
			if cut < 0 {
				cut = len(t)
			}
			h.Host, h.Target = t[:cut], t[cut:]
			if h.Target == "" || h.Target[0] != '/' {
				h.Target = "/" + h.Target
			}
			break
		}
	}
	if h.Target[0] != '/' && (h.Target != "*" || h.Method != "OPTIONS") {
		return bad("malformed request target")
	}
	for i := range len(h.Host) {
		if c := h.Host[i]; !hostChar[c] {
			return bad("malformed Host")
		}
	}
	return nil
}

// Named tells whether the Connection header lists the option.
func (h *Head) Named(option string) bool {
	for rest := h.options; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, ",")
		if strings.EqualFold(strings.Trim(one, " \t"), option) {
			return true
		}
	}
	return false
}

// Get is the first value of the header, or "".
func (h *Head) Get(k Kind) string {
	for i := range h.Fields {
		if h.Fields[i].Kind == k {
			return h.Fields[i].Value
		}
	}
	return ""
}

// Hop tells whether f belongs to this connection alone and is not passed on.
func (h *Head) Hop(f *Field) bool {
	return f.Kind.hop() || h.options != "" && f.Kind != Host && f.Kind != ContentLength && h.Named(f.Name)
}
