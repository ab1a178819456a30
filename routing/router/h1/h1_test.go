package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHeadInPieces(t *testing.T) {
	text := "\r\nGET /x HTTP/1.1\r\nHost: a.test\r\nX-Long: " + strings.Repeat("y", 10000) + "\r\n\r\nrest"
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text))} {
		br := bufio.NewReader(r)
		slow := 0
		s, err := ReadHead(br, func() { slow++ })
		if err != nil || s != text[2:len(text)-4] || slow != 1 {
			t.Fatalf("%s: %v, slow %d, %d bytes", name, err, slow, len(s))
		}
		var h Head
		if err := h.ParseRequest(s); err != nil || h.Host != "a.test" || h.Target != "/x" || len(h.Fields) != 2 {
			t.Fatal(name, err)
		}
		if rest, err := io.ReadAll(br); err != nil || string(rest) != "rest" {
			t.Fatalf("%s: %q %v", name, rest, err)
		}
	}
	for text, want := range map[string]error{"": io.EOF, "GET / HT": io.ErrUnexpectedEOF, "\r\n": io.ErrUnexpectedEOF} {
		if _, err := ReadHead(bufio.NewReader(strings.NewReader(text)), func() {}); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConnectionOptions(t *testing.T) {
	for head, want := range map[string]struct {
		close   bool
		upgrade string
	}{
		"HTTP/1.1\r\nHost: a\r\n": {false, ""}, "HTTP/1.0\r\nHost: a\r\n": {true, ""},
		"HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n":                             {false, ""},
		"HTTP/1.1\r\nHost: a\r\nConnection: x ,\tClose\r\n":                             {true, ""},
		"HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: upgrade\r\nUpgrade: w\r\n": {false, "w"},
		"HTTP/1.1\r\nHost: a\r\nUpgrade: w\r\n":                                         {false, ""},
	} {
		var h Head
		if err := h.ParseRequest("GET / " + head + "\r\n"); err != nil || h.Close != want.close || h.Upgrade != want.upgrade {
			t.Errorf("%q: %v %+v", head, err, h)
		}
	}
}

func TestTargets(t *testing.T) {
	for line, want := range map[string][2]string{
		"GET http://B.test:8/p?q HTTP/1.1": {"B.test:8", "/p?q"}, "GET HTTPS://b.test HTTP/1.1": {"b.test", "/"}, "GET http://b.test?q HTTP/1.1": {"b.test", "/?q"},
		"OPTIONS * HTTP/1.1": {"a.test", "*"}, "GET //x HTTP/1.1": {"a.test", "//x"}, "GET /a%2Fb HTTP/1.1": {"a.test", "/a%2Fb"},
	} {
		var h Head
		if err := h.ParseRequest(line + "\r\nHost: a.test\r\n\r\n"); err != nil || h.Host != want[0] || h.Target != want[1] {
			t.Errorf("%s: %v %q %q", line, err, h.Host, h.Target)
		}
	}
	for _, line := range []string{"GET * HTTP/1.1", "GET ftp://a.test/ HTTP/1.1", "GET http://u@b.test/ HTTP/1.1", "GET b.test HTTP/1.1"} {
		var h Head
		if h.ParseRequest(line+"\r\nHost: a.test\r\n\r\n") == nil {
			t.Error(line, "was accepted")
		}
	}
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]Kind{"HOST": Host, "x-forwarded-FOR": ForwardedFor, "X-Cf-Anything-At-All-That-Is-Very-Long-Indeed": CF, "x-cf-": CF,
		"X_Forwarded_For": Forging, "x_cf_instanceid": Forging, "X-Cf_ApplicationID": Forging, "content_length": Forging, "X-Other": Other, "X_Other": Other, "Xcf-": Other} {
		if got := kindOf(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// timeouts lets a reader fail once before each byte, as a deadline does.
type timeouts struct {
	r    io.Reader
	fail bool
}

var errTimeout = errors.New("timeout")

func (t *timeouts) Read(p []byte) (int, error) {
	if t.fail = !t.fail; t.fail {
		return 0, errTimeout
	}
	return t.r.Read(p[:min(len(p), 1)])
}

// TestBodyGoesOnAfterADeadline: a Read that failed in time can be repeated anywhere in a chunked body.
func TestBodyGoesOnAfterADeadline(t *testing.T) {
	h := Head{Chunked: true, Length: -1}
	body := h.Request(bufio.NewReader(&timeouts{r: strings.NewReader("3;x\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: v\r\n\r\n")}))
	var got []byte
	for room := make([]byte, 100); ; {
		n, err := body.Read(room)
		got = append(got, room[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, errTimeout) {
			t.Fatal(err)
		}
	}
	if string(got) != "hello" || len(body.Trailer) != 1 || body.Trailer[0].Value != "v" {
		t.Fatalf("%q %v", got, body.Trailer)
	}
}

// FuzzRequest: what is accepted is read the same by Go's own parser, which the apps' side stands for.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
		"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\nX: \t y \t\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReader(bytes.NewReader(in))
		s, err := ReadHead(br, func() {})
		if err != nil {
			return
		}
		var h Head
		if h.ParseRequest(s) != nil {
			return
		}
		// Written out anew, as a proxy does.
		out := h.Method + " " + h.Target + " HTTP/1.1\r\nHost: " + h.Host + "\r\n"
		for _, f := range h.Fields {
			if f.Kind != Host {
				out += f.Name + ": " + f.Value + "\r\n"
			}
		}
		body := h.Request(br)
		mine, mineErr := io.ReadAll(&body)
		if mineErr != nil {
			return // cut or malformed: it is not passed on as whole
		}
		rest, _ := io.ReadAll(br)
		sent := in[:len(in)-len(rest)]
		at := bytes.Index(sent, []byte("\r\n\r\n"))
		theirs, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(out+"\r\n"), bytes.NewReader(sent[at+4:]), strings.NewReader("GET /next HTTP/1.1\r\n"))))
		if err != nil {
			return // Go refuses more, such as odd hosts
		}
		got, err := io.ReadAll(theirs.Body)
		if err != nil || !bytes.Equal(got, mine) {
			t.Fatalf("%q is read as %q here and %q (%v) there", in, mine, got, err)
		}
	})
}

// What a shell script writes is a response; what is like it is no request.
func TestBareLF(t *testing.T) {
	for _, head := range []string{"HTTP/1.1 200 OK\r\n\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK\nA: b\r\n\n", "HTTP/1.1 200 OK\n\r\n"} {
		br := bufio.NewReader(strings.NewReader(head + "body\r\n\r\nmore"))
		var h Head
		s, err := ReadHead(br, func() {})
		if err != nil || s != head || h.ParseResponse(s) != nil || h.Status != 200 || len(h.Fields) != strings.Count(head, "A:") {
			t.Errorf("%q: read %q, %v, %+v", head, s, err, h)
		}
		if body, _ := io.ReadAll(br); string(body) != "body\r\n\r\nmore" {
			t.Errorf("%q: body %q", head, body)
		}
		s, _ = ReadHead(bufio.NewReader(strings.NewReader(strings.Replace(head, "HTTP/1.1 200 OK", "GET / HTTP/1.1", 1))), func() {})
		if h.ParseRequest(s) == nil {
			t.Errorf("%q taken for a request", s)
		}
	}
}

// FuzzResponse: no input makes the reader of instances' answers panic or accept two framings.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA", "HTTP/1.1 200\r\n\r\n", "HTTP/1.0 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 101 X\r\nUpgrade: w\r\nConnection: upgrade\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReader(bytes.NewReader(in))
		s, err := ReadHead(br, func() {})
		var h Head
		if err != nil || h.ParseResponse(s) != nil {
			return
		}
		if h.Chunked && h.Length >= 0 || h.Status < 100 || h.Status > 999 {
			t.Fatalf("%+v", h)
		}
		for _, f := range h.Fields {
			if strings.ContainsAny(f.Name+f.Value, "\r\n\x00") {
				t.Fatalf("%q", f)
			}
		}
		body := h.Response(br, "GET")
		_, _ = io.Copy(io.Discard, &body)
	})
}

func BenchmarkParseRequest(b *testing.B) {
	text := "GET /some/path?query=1 HTTP/1.1\r\nHost: app-1.apps.ingot.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\n" +
		"Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.5\r\nCookie: a=b; c=d\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
	var h Head
	b.ReportAllocs()
	for b.Loop() {
		if h.ParseRequest(text) != nil {
			b.Fail()
		}
	}
}
