package logcache

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ingot/cf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tokens knows tokens by their scopes: "scope,scope" is a valid one.
type tokens struct{}

func (tokens) Verify(_ context.Context, token string) (cf.Identity, error) {
	if token == "forged" {
		return cf.Identity{}, cf.Errorf(cf.KindUnauthenticated, "InvalidAuthToken", "Invalid Auth Token")
	}
	return cf.Identity{UserID: "u", Scopes: strings.Split(token, ",")}, nil
}

func serve(t testing.TB, s *Store) *httptest.Server {
	a := &API{Store: s, Tokens: tokens{}, Hold: -1, MayRead: func(_ context.Context, id cf.Identity, source string) bool {
		return id.Has("cloud_controller.read") && source == "mine"
	}}
	srv := httptest.NewServer(a.Handler())
	t.Cleanup(srv.Close)
	return srv
}

func get(t testing.TB, url, token string) (int, string) {
	t.Helper()
	q, err := http.NewRequest("GET", url, nil)
	must(t, err)
	if token != "" {
		q.Header.Set("Authorization", "bearer "+token)
	}
	res, err := http.DefaultClient.Do(q)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	must(t, err)
	return res.StatusCode, b.String()
}

// reply is every field that protojson knows of a ReadResponse with the names this server uses.
type reply struct {
	Envelopes struct {
		Batch []struct {
			Timestamp  string            `json:"timestamp"`
			SourceID   string            `json:"source_id"`
			InstanceID string            `json:"instance_id"`
			Tags       map[string]string `json:"tags"`
			Log        *struct {
				Payload []byte `json:"payload"`
				Type    string `json:"type"`
			} `json:"log"`
			Counter *struct{ Name, Delta, Total string } `json:"counter"`
			Gauge   *struct {
				Metrics map[string]struct {
					Unit  string `json:"unit"`
					Value any    `json:"value"`
				} `json:"metrics"`
			} `json:"gauge"`
			Timer *struct{ Name, Start, Stop string } `json:"timer"`
		} `json:"batch"`
	} `json:"envelopes"`
}

func parse(t testing.TB, text string) (r reply) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return r
}

func line(source string, ns int64, text string) cf.Envelope {
	return cf.Envelope{Time: time.Unix(0, ns), SourceID: source, InstanceID: "0", Tags: map[string]string{"source_type": "APP/PROC/WEB"},
		Log: &cf.LogLine{Payload: []byte(text)}}
}

func TestShapes(t *testing.T) {
	s := &Store{}
	at := time.Unix(1700000000, 123456789)
	nasty := "\x00\xff\u2028\"\\\n"
	s.Take([]cf.Envelope{
		{Time: at, SourceID: "mine", InstanceID: "0", Tags: map[string]string{"source_type": "STG", "n\"": nasty}, Log: &cf.LogLine{Payload: []byte(nasty), Err: true}},
		{Time: at.Add(time.Second), SourceID: "mine", InstanceID: "1", Gauge: map[string]cf.GaugeValue{"cpu": {Unit: "percentage", Value: .25}, "bad": {Value: math.NaN()}}},
		{Time: at.Add(2 * time.Second), SourceID: "mine", Counter: &cf.CounterValue{Name: "c", Delta: 1, Total: math.MaxUint64}},
		{Time: at.Add(3 * time.Second), SourceID: "mine", Timer: &cf.TimerValue{Name: "http", Start: at, Stop: at.Add(time.Millisecond)}},
		{Time: at.Add(4 * time.Second), SourceID: "mine"}, // nothing in it
	})
	code, text := get(t, serve(t, s).URL+"/api/v1/read/mine", "logs.admin")
	r := parse(t, text)
	b := r.Envelopes.Batch
	if code != 200 || len(b) != 4 {
		t.Fatal(code, text)
	}
	if b[0].Timestamp != "1700000000123456789" || b[0].SourceID != "mine" || b[0].InstanceID != "0" || b[0].Tags["source_type"] != "STG" ||
		string(b[0].Log.Payload) != nasty || b[0].Log.Type != "ERR" || b[0].Tags[`n"`] != strings.ToValidUTF8(nasty, "\ufffd") {
		t.Errorf("%+v", b[0])
	}
	if b[1].Gauge.Metrics["cpu"].Value != .25 || b[1].Gauge.Metrics["cpu"].Unit != "percentage" || b[1].Gauge.Metrics["bad"].Value != "NaN" {
		t.Errorf("%+v", b[1].Gauge)
	}
	if *b[2].Counter != (struct{ Name, Delta, Total string }{"c", "1", "18446744073709551615"}) {
		t.Errorf("%+v", b[2].Counter)
	}
	if *b[3].Timer != (struct{ Name, Start, Stop string }{"http", "1700000000123456789", "1700000000124456789"}) {
		t.Errorf("%+v", b[3].Timer)
	}
	if want := `"payload":"` + base64.StdEncoding.EncodeToString([]byte(nasty)) + `"`; !strings.Contains(text, want) {
		t.Error(text)
	}
}

func TestReadParameters(t *testing.T) {
	s := &Store{}
	var batch []cf.Envelope
	base := time.Now().Add(-time.Hour).UnixNano()
	const step = int64(2 * time.Millisecond)
	for i := range int64(1500) {
		batch = append(batch, line("mine", base+i*step, fmt.Sprint(i)))
	}
	batch = append(batch, cf.Envelope{Time: time.Unix(0, base+1500*step), SourceID: "mine", Gauge: map[string]cf.GaugeValue{"cpu": {}}})
	batch = append(batch, cf.Envelope{Time: time.Unix(0, base+1501*step), SourceID: "mine", Counter: &cf.CounterValue{Name: "requests"}})
	s.Take(batch)
	url := serve(t, s).URL + "/api/v1/read/mine"
	n := func(i int64) string { return strconv.FormatInt(base+i*step, 10) }
	for _, c := range []struct {
		query       string
		count       int
		first, last string
	}{
		{"", 100, n(0), n(99)},
		{"?limit=0", 100, n(0), n(99)},
		{"?limit=3&descending=true", 3, n(1501), n(1499)},
		{"?start_time=-6795364578871345152&limit=1&descending=true&envelope_types=LOG", 1, n(1499), n(1499)},
		{"?limit=1000&descending=true&envelope_types=LOG", 1000, n(1499), n(500)},
		{"?start_time=" + n(1490) + "&envelope_types=LOG", 10, n(1490), n(1499)},
		{"?start_time=" + n(10) + "&end_time=" + n(12), 2, n(10), n(11)},
		{"?envelope_types=GAUGE&envelope_types=COUNTER", 2, n(1500), n(1501)},
		{"?envelope_types=ANY&limit=1", 1, n(0), n(0)},
		{"?envelope_types=EVENT", 0, "", ""},
		{"?name_filter=^cp", 1, n(1500), n(1500)},
		{"?name_filter=^re.*s$", 1, n(1501), n(1501)},
		{"?unknown=x&envelope_type=LOG&limit=1", 1, n(0), n(0)},
		{"?start_time=" + n(5000), 0, "", ""},
	} {
		code, text := get(t, url+c.query, "logs.admin")
		b := parse(t, text).Envelopes.Batch
		if code != 200 || len(b) != c.count || c.count > 0 && (b[0].Timestamp != c.first || b[len(b)-1].Timestamp != c.last) {
			t.Errorf("%s: %d, %d envelopes", c.query, code, len(b))
		}
	}
	for query, words := range map[string]string{"?limit=1001": "Limit (1001) must be 1000 or less", "?limit=-1": "Limit (-1)", "?limit=x": "limit",
		"?start_time=9223372036854775808": "start_time", "?end_time=": "", "?start_time=5&end_time=4": "StartTime (5) must be before EndTime (4)",
		"?name_filter=(": "regular expression", "?envelope_types=NIX": "NIX", "?descending=perhaps": "boolean"} {
		code, text := get(t, url+query, "logs.admin")
		if words != "" && (code != 400 || !strings.Contains(text, words) || !json.Valid([]byte(text))) || words == "" && code != 200 {
			t.Errorf("%s: %d %s", query, code, text)
		}
	}
}

func TestWhoMayRead(t *testing.T) {
	s := &Store{}
	s.Take([]cf.Envelope{line("mine", 1, "x"), line("router", 1, "x")})
	base := serve(t, s).URL + "/api/v1/"
	for _, c := range []struct {
		path, token string
		code        int
	}{
		{"read/mine", "", 404}, {"read/mine", "forged", 404}, {"read/mine", "openid", 404}, {"read/mine", "cloud_controller.read", 200},
		{"read/router", "cloud_controller.read", 404}, {"read/router", "logs.admin", 200}, {"read/router", "doppler.firehose", 200},
		{"read/none", "logs.admin", 200}, {"read/none", "cloud_controller.read", 404}, {"read/", "logs.admin", 404},
		{"meta", "", 404}, {"info", "", 200}, {"query?query=x", "", 404}, {"query?query=x", "logs.admin", 501}, {"nix", "logs.admin", 404},
	} {
		code, text := get(t, base+c.path, c.token)
		if code != c.code || !json.Valid([]byte(text)) {
			t.Errorf("%s with %q: %d %s", c.path, c.token, code, text)
		}
	}
	if _, text := get(t, base+"info", ""); !strings.HasPrefix(text, `{"version":"3.`) {
		t.Error(text)
	}
	if _, text := get(t, base+"read/none", "logs.admin"); text != `{"envelopes":{"batch":[]}}`+"\n" {
		t.Error(text)
	}
	if _, text := get(t, base+"meta", "cloud_controller.read"); text != `{"meta":{"mine":{"count":"1","expired":"0","oldest_timestamp":"1","newest_timestamp":"1"}}}`+"\n" {
		t.Error(text)
	}
	if _, text := get(t, base+"meta", "logs.admin"); !strings.Contains(text, `"mine"`) || !strings.Contains(text, `"router"`) {
		t.Error(text)
	}
}

func TestEveryEnvelopeHasATimeOfItsOwn(t *testing.T) {
	s := &Store{}
	for i := range 500 {
		s.Take([]cf.Envelope{line("a", 1000, fmt.Sprint(i))}) // a clock that stands still
	}
	var seen []string
	for start := int64(0); ; {
		items := s.read("a", query{start: start, end: math.MaxInt64, limit: 7})
		if len(items) == 0 {
			break
		}
		for _, it := range items {
			seen = append(seen, string(it.payload))
		}
		start = items[len(items)-1].time + 1 // as clients do
	}
	if len(seen) != 500 || seen[0] != "0" || seen[499] != "499" {
		t.Fatal("lines were lost or changed places:", len(seen))
	}
}

func TestBounds(t *testing.T) {
	s := &Store{PerSource: 1000, Bytes: 4 << 20}
	now := time.Now().UnixNano()
	for i := range int64(5000) {
		s.Take([]cf.Envelope{line("hot", now+i*1e7, strings.Repeat("x", 200))})
	}
	m := s.meta()["hot"]
	if m.count > 1000 || m.count < 900 || m.expired != uint64(5000-m.count) || m.newest != now+4999*1e7 {
		t.Fatalf("%+v", m)
	}
	for i := range int64(40000) {
		s.Take([]cf.Envelope{line(fmt.Sprint("app-", i%400), now+i*1e7, strings.Repeat("y", 200))})
	}
	if s.order.bytes > 4<<20 {
		t.Fatal(s.order.bytes)
	}
	if len(s.read("hot", query{end: math.MaxInt64, limit: 10})) != 0 || s.find("hot") != nil {
		t.Fatal("the oldest must go first")
	}
	if len(s.read("app-399", query{end: math.MaxInt64, limit: 10})) == 0 {
		t.Fatal("the newest must stay")
	}
	total := 0
	for _, src := range s.sources {
		for _, p := range src.places {
			total += p.bytes
		}
	}
	if total != s.order.bytes {
		t.Fatal("counted", s.order.bytes, "held", total)
	}
}

// TestLikeTheModel compares reads with a sorted list.
func TestLikeTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &Store{}
		type known struct {
			time int64
			text string
			kind kind
		}
		var all []known
		newest := int64(0)
		for i := range rapid.IntRange(0, 600).Draw(rt, "n") {
			ts := int64(rapid.IntRange(1, 5000).Draw(rt, "t")) * int64(time.Millisecond) // far out of order
			text := strings.Repeat("z", rapid.IntRange(0, 300).Draw(rt, "len")) + fmt.Sprint(i)
			e := line("a", ts, text)
			k := kindLog
			if i%5 == 0 {
				e.Log, e.Counter, k = nil, &cf.CounterValue{Name: text}, kindCounter
			}
			s.Take([]cf.Envelope{e})
			if ts <= newest && newest-ts < sameMoment {
				ts = newest + 1
			}
			newest = max(newest, ts)
			all = append(all, known{ts, text, k})
		}
		q := query{start: int64(rapid.IntRange(0, 5000).Draw(rt, "start")) * 1e6, limit: rapid.IntRange(1, 700).Draw(rt, "limit"), descending: rapid.Bool().Draw(rt, "desc")}
		q.end = q.start + int64(rapid.IntRange(0, 5000).Draw(rt, "span"))*1e6
		if rapid.Bool().Draw(rt, "logs") {
			q.kinds = []kind{kindLog}
		}
		var want []known
		for _, k := range all {
			if k.time >= q.start && k.time < q.end && (q.kinds == nil || k.kind == kindLog) {
				want = append(want, k)
			}
		}
		slices.SortStableFunc(want, func(a, b known) int {
			if q.descending {
				a, b = b, a
			}
			return int(a.time - b.time)
		})
		want = want[:min(len(want), q.limit)]
		got := s.read("a", q)
		if len(got) != len(want) {
			rt.Fatalf("%d, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i].time != want[i].time {
				rt.Fatalf("%d: time %d, want %d", i, got[i].time, want[i].time)
			}
		}
	})
}

func TestReadsBesideWrites(t *testing.T) {
	s := &Store{PerSource: 300, Bytes: 200 << 10}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 4000 {
				s.Take([]cf.Envelope{line(fmt.Sprint("s", (w+i)%7), time.Now().UnixNano(), "text "+fmt.Sprint(i))})
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for i := range 2000 {
				for _, it := range s.read(fmt.Sprint("s", i%7), query{end: math.MaxInt64, limit: 50, descending: true}) {
					if !strings.HasPrefix(string(it.payload), "text ") || string(it.tags) != `{"source_type":"APP/PROC/WEB"}` {
						t.Errorf("%q %s", it.payload, it.tags)
						return
					}
				}
				s.meta()
			}
		})
	}
	wg.Wait()
}

func TestFollowerSeesALineAtOnce(t *testing.T) {
	s := &Store{}
	now := time.Now().UnixNano()
	s.Take([]cf.Envelope{line("mine", now, "old")})
	a := &API{Store: s, Tokens: tokens{}, Hold: 20 * time.Second}
	srv := httptest.NewServer(a.Handler())
	defer srv.Close()
	go func() {
		for a.holding.Load() == 0 { // the read is waiting
			runtime.Gosched()
		}
		s.Take([]cf.Envelope{line("mine", time.Now().UnixNano(), "new")})
	}()
	q := url.Values{"start_time": {strconv.FormatInt(now+1, 10)}, "envelope_types": {"LOG"}}
	began := time.Now()
	_, text := get(t, srv.URL+"/api/v1/read/mine?"+q.Encode(), "logs.admin")
	if b := parse(t, text).Envelopes.Batch; len(b) != 1 || string(b[0].Log.Payload) != "new" || time.Since(began) > 10*time.Second {
		t.Fatal(text)
	}
	q.Set("end_time", strconv.FormatInt(now+2, 10)) // the past needs no waiting
	if _, text := get(t, srv.URL+"/api/v1/read/mine?"+q.Encode(), "logs.admin"); len(parse(t, text).Envelopes.Batch) != 0 || time.Since(began) > 10*time.Second {
		t.Fatal(text)
	}
}

func TestAbandonedReadEnds(t *testing.T) {
	a := &API{Store: &Store{}, Tokens: tokens{}, Hold: time.Hour}
	srv := httptest.NewServer(a.Handler())
	defer srv.Close() // waits for the handler
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for a.holding.Load() == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	q, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/api/v1/read/none", nil)
	must(t, err)
	q.Header.Set("Authorization", "bearer logs.admin")
	if res, err := http.DefaultClient.Do(q); err == nil {
		_ = res.Body.Close()
		t.Fatal(res.Status)
	}
}

func FuzzJSONString(f *testing.F) {
	f.Add("a\"\\\n\x00\xff\u2028é")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendJSONString(nil, s), &back); err != nil || utf8.ValidString(s) && back != s {
			t.Fatalf("%q: %q, %v", s, back, err)
		}
	})
}

// tagged is a line as a cell emits it: tags shared by all lines of the instance.
func tagged() cf.Envelope {
	tags := map[string]string{"source_type": "APP/PROC/WEB", "process_type": "web"}
	for _, k := range []string{"app_id", "space_id", "organization_id", "process_id", "process_instance_id"} {
		tags[k] = cf.NewGUID()
	}
	for _, k := range []string{"app_name", "space_name", "organization_name", "instance_id", "origin"} {
		tags[k] = k
	}
	return cf.Envelope{SourceID: tags["app_id"], InstanceID: "0", Tags: tags, Log: &cf.LogLine{Payload: bytes.Repeat([]byte("x"), 200)}}
}

// TestBytesPerLine holds goal C1: at most 350 B kept for a 200-byte line.
func TestBytesPerLine(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := &Store{}
	e := tagged()
	for i := range int64(100_000) {
		e.Time = time.Unix(0, i*1e6)
		s.Take([]cf.Envelope{e})
	}
	per := float64(heap()-before) / 100_000
	t.Logf("%.0f B a line; counted %.0f", per, float64(s.order.bytes)/100_000)
	if per > 350 {
		t.Errorf("%.0f B a line, want at most 350", per)
	}
	runtime.KeepAlive(s)
}

func BenchmarkTake(b *testing.B) {
	s := &Store{}
	e := tagged()
	batch := make([]cf.Envelope, 100)
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j := range batch {
			e.Time = now.Add(time.Duration(i*100+j) * time.Millisecond)
			batch[j] = e
		}
		s.Take(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/envelope")
}

func BenchmarkNewest1000(b *testing.B) {
	s := &Store{}
	e := tagged()
	now := time.Now().Add(-time.Hour)
	for i := range 100_000 {
		e.Time = now.Add(time.Duration(i) * time.Millisecond)
		s.Take([]cf.Envelope{e})
	}
	h := (&API{Store: s, Tokens: tokens{}}).Handler()
	q := httptest.NewRequest("GET", "/api/v1/read/"+e.SourceID+"?envelope_types=LOG&limit=1000&descending=true", nil)
	q.Header.Set("Authorization", "bearer logs.admin")
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		if w.Code != 200 || w.Body.Len() < 300_000 {
			b.Fatal(w.Code, w.Body.Len())
		}
	}
}
