package rlp

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/websocket"
	"google.golang.org/protobuf/encoding/protowire"

	"ingot/cf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type tokens map[string]cf.Identity

func (t tokens) Verify(_ context.Context, token string) (cf.Identity, error) {
	if id, ok := t[token]; ok {
		return id, nil
	}
	return cf.Identity{}, cf.Errorf(cf.KindUnauthenticated, "InvalidAuthToken", "Invalid Auth Token")
}

func newAPI() *API {
	return &API{Hub: &Hub{}, Heartbeat: 50 * time.Millisecond,
		Tokens: tokens{"admin": {UserID: "a", Scopes: []string{"doppler.firehose"}}, "dev": {UserID: "d"}},
		MayRead: func(_ context.Context, id cf.Identity, source string) bool {
			return id.UserID == "d" && source == "mine"
		}}
}

func logLine(source, text string) cf.Envelope {
	return cf.Envelope{Time: time.Unix(1, 5), SourceID: source, InstanceID: "0", Log: &cf.LogLine{Payload: []byte(text)},
		Tags: map[string]string{"source_type": "APP/PROC/WEB", "origin": "rep"}}
}

func counter(name string) cf.Envelope {
	return cf.Envelope{Time: time.Unix(2, 0), SourceID: "mine", Counter: &cf.CounterValue{Name: name, Delta: 1, Total: 1 << 60}}
}

func gauge(names ...string) cf.Envelope {
	e := cf.Envelope{Time: time.Unix(3, 0), SourceID: "mine", InstanceID: "1", Gauge: map[string]cf.GaugeValue{}}
	for i, n := range names {
		e.Gauge[n] = cf.GaugeValue{Unit: "u", Value: float64(i) + 0.5}
	}
	return e
}

// waitFor gives the hub its listeners.
func waitFor(t *testing.T, h *Hub, n int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		h.mu.Lock()
		have := h.streams
		h.mu.Unlock()
		if have == n {
			return
		}
	}
	t.Fatalf("there are never %d streams", n)
}

func TestGatewayRefuses(t *testing.T) {
	s := httptest.NewServer(newAPI().Gateway())
	defer s.Close()
	for _, c := range []struct {
		token, method, path string
		code                int
		text                string
	}{
		{"", "GET", "/v2/read?log&source_id=mine", 404, `{"error":"not_found","message":"resource not found"}`},
		{"Bearer wrong", "GET", "/v2/read?log&source_id=mine", 404, "resource not found"},
		{"bearer dev", "GET", "/v2/read?log", 404, "resource not found"},
		{"bearer dev", "GET", "/v2/read?log&source_id=mine&source_id=other", 404, "resource not found"},
		{"bearer admin", "GET", "/v2/read", 400, "query cannot be empty"},
		{"bearer admin", "GET", "/v2/read?source_id=x", 400, "query must provide at least one envelope type"},
		{"bearer admin", "GET", "/v2/read?counter.name=", 400, "counter.name is invalid without value"},
		{"bearer admin", "GET", "/v2/read?gauge.name=", 400, "gauge.name is invalid without value"},
		{"bearer admin", "POST", "/v2/read?log", 405, "method not allowed"},
		{"bearer admin", "GET", "/v3/read?log", 404, "resource not found"},
	} {
		r, _ := http.NewRequest(c.method, s.URL+c.path, nil)
		r.Header.Set("Authorization", c.token)
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if a.StatusCode != c.code || !strings.Contains(string(b), c.text) {
			t.Errorf("%s %s as %q: %d %s", c.method, c.path, c.token, a.StatusCode, b)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestGatewayStreams: the stream has what was asked for and no more, in protojson, and shows signs of life.
func TestGatewayStreams(t *testing.T) {
	api := newAPI()
	s := httptest.NewServer(api.Gateway())
	defer s.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/v2/read?shard_id=x&source_id=mine&log&gauge.name=a,b", nil)
	r.Header.Set("Authorization", "bearer dev")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = a.Body.Close() }()
	if a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v", a.Header)
	}
	waitFor(t, api.Hub, 1)
	api.Hub.Take([]cf.Envelope{logLine("other", "no"), logLine("mine", "Muahaha"), counter("c"), gauge("a"), gauge("a", "b")})
	var got struct {
		Batch []struct {
			Timestamp  string
			SourceID   string `json:"source_id"`
			InstanceID string `json:"instance_id"`
			Tags       map[string]string
			Log        *struct{ Payload, Type string }
			Gauge      *struct {
				Metrics map[string]struct {
					Unit  string
					Value float64
				}
			}
		}
	}
	beats := 0
	for lines := bufio.NewScanner(a.Body); lines.Scan() && (beats < 2 || got.Batch == nil); {
		if text, ok := strings.CutPrefix(lines.Text(), "data: {"); ok {
			if err := json.Unmarshal([]byte("{"+text), &got); err != nil {
				t.Fatal(err)
			}
		}
		if lines.Text() == "event: heartbeat" {
			beats++
		}
	}
	if len(got.Batch) != 2 || got.Batch[0].Log == nil || got.Batch[1].Gauge == nil {
		t.Fatalf("got %+v", got)
	}
	line := got.Batch[0]
	if text, _ := base64.StdEncoding.DecodeString(line.Log.Payload); string(text) != "Muahaha" || line.Log.Type != "OUT" || line.Timestamp != "1000000005" ||
		line.SourceID != "mine" || line.InstanceID != "0" || line.Tags["source_type"] != "APP/PROC/WEB" {
		t.Errorf("line %+v", line)
	}
	if m := got.Batch[1].Gauge.Metrics; m["b"].Value != 1.5 || m["b"].Unit != "u" {
		t.Errorf("gauge %+v", m)
	}
}

func TestStreamEndsInTime(t *testing.T) {
	api := newAPI()
	api.Lifetime = 100 * time.Millisecond
	s := httptest.NewServer(api.Gateway())
	defer s.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/v2/read?log", nil)
	r.Header.Set("Authorization", "bearer admin")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	b, _ := io.ReadAll(a.Body)
	_ = a.Body.Close()
	if !strings.HasSuffix(string(b), "event: closing\ndata: closing due to stream timeout\n\n") {
		t.Errorf("ended with %q", b)
	}
	waitFor(t, api.Hub, 0)
}

// TestQueueIsBounded: who does not read loses, is told how much, and holds up nobody; a shard's listeners share.
func TestQueueIsBounded(t *testing.T) {
	h := &Hub{}
	everything := func(*cf.Envelope) bool { return true }
	slow, err := h.open("a", everything)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := h.open("b", everything)
	two, _ := h.open("b", everything)
	for i := range maxEnvelopes + 10 {
		h.Take([]cf.Envelope{logLine("x", fmt.Sprint(i))})
		for _, s := range []*stream{one, two} {
			s.mu.Lock()
			if len(s.queue) > (i+2)/2 {
				t.Fatalf("%d of %d came to one of two", len(s.queue), i+1)
			}
			s.mu.Unlock()
		}
	}
	got, err := slow.next(t.Context(), time.Second)
	last := got[len(got)-1]
	if err != nil || len(got) != maxEnvelopes+1 || last.Counter == nil || last.Counter.Delta != 10 || string(got[0].Log.Payload) != "0" {
		t.Errorf("%d, the last is %+v, %v", len(got), last, err)
	}
	h.Take([]cf.Envelope{{Log: &cf.LogLine{Payload: make([]byte, maxBytes)}}, {Log: &cf.LogLine{Payload: make([]byte, 1)}}})
	if got, _ = slow.next(t.Context(), time.Second); len(got) != 2 || got[1].Counter == nil {
		t.Errorf("bytes are not bounded: %d", len(got))
	}
	slow.close()
	one.close()
	two.close()
	if h.streams != 0 || len(h.shards) != 0 {
		t.Errorf("left: %d, %v", h.streams, h.shards)
	}
	for range maxStreams {
		if _, err := h.open("c", everything); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.open("c", everything); err == nil {
		t.Error("streams are not bounded")
	}
}

// fields takes a protocol buffer apart, one level deep.
func fields(t *testing.T, b []byte) map[protowire.Number][]any {
	t.Helper()
	out := map[protowire.Number][]any{}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatalf("bad tag in %x", b)
		}
		var v any
		b = b[size:]
		switch kind {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, size = protowire.ConsumeFixed64(b)
		default:
			t.Fatalf("kind %d", kind)
		}
		if size < 0 {
			t.Fatalf("bad field in %x", b)
		}
		b = b[size:]
		out[n] = append(out[n], v)
	}
	return out
}

func TestFirehose(t *testing.T) {
	api := newAPI()
	s := httptest.NewServer(api.TrafficController())
	defer s.Close()
	dial := func(token, path string) (*websocket.Conn, error) {
		c, _ := websocket.NewConfig("ws"+strings.TrimPrefix(s.URL, "http")+path, s.URL)
		c.Header.Set("Authorization", "bearer "+token)
		return c.DialContext(t.Context())
	}
	for _, c := range []struct{ token, path string }{{"wrong", "/firehose/x"}, {"dev", "/firehose/x"}, {"dev", "/apps/other/stream"}, {"wrong", "/apps/mine/stream"}, {"admin", "/"}} {
		if ws, err := dial(c.token, c.path); err == nil {
			t.Errorf("%s may %s", c.token, c.path)
			_ = ws.Close()
		}
	}
	all, err := dial("admin", "/firehose/x")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := dial("dev", "/apps/mine/stream")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, api.Hub, 2)
	time.Sleep(120 * time.Millisecond) // signs of life do not disturb
	api.Hub.Take([]cf.Envelope{logLine("other", "no"), logLine("mine", "Muahaha"), counter("c"), gauge("cpu", "memory", "disk", "memory_quota", "disk_quota"), gauge("x", "y")})
	take := func(ws *websocket.Conn) (kind uint64, envelope map[protowire.Number][]any) {
		t.Helper()
		var b []byte
		if err := ws.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(ws, &b); err != nil {
			t.Fatal(err)
		}
		f := fields(t, b)
		return f[2][0].(uint64), f
	}
	var kinds []uint64
	for range 6 {
		k, f := take(all)
		kinds = append(kinds, k)
		if k == typeContainerMetric {
			m := fields(t, f[fieldContainerMetric][0].([]byte))
			if string(m[1][0].([]byte)) != "mine" || m[2][0].(uint64) != 1 || m[4][0].(uint64) != 1 {
				t.Errorf("container %v", m)
			}
		}
	}
	if fmt.Sprint(kinds) != "[5 5 7 9 6 6]" {
		t.Errorf("kinds %v", kinds)
	}
	k, f := take(mine)
	m := fields(t, f[fieldLogMessage][0].([]byte))
	if k != typeLogMessage || string(f[1][0].([]byte)) != "rep" || string(m[1][0].([]byte)) != "Muahaha" || m[2][0].(uint64) != 1 || m[3][0].(uint64) != 1000000005 ||
		string(m[4][0].([]byte)) != "mine" || string(m[5][0].([]byte)) != "APP/PROC/WEB" || string(m[6][0].([]byte)) != "0" || len(f[fieldTags]) != 2 {
		t.Errorf("line %v in %v", m, f)
	}
	_, _ = all.Close(), mine.Close()
	waitFor(t, api.Hub, 0)
}
