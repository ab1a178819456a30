package cell

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ingot/cf"
)

// program is what runs in a fake container: it ends by itself, or by a signal.
type program func(ctx context.Context, p cf.Program, s cf.Streams, signals <-chan int) int

// host is a cf.Containers in memory. Its containers outlive cells.
type host struct {
	mu     sync.Mutex
	boxes  map[string]*box
	layers map[string]bool
	adds   int
	stats  cf.ContainerStats

	main   program                                                   // what Start runs
	exec   func(ctx context.Context, p cf.Program, s cf.Streams) int // what Exec runs
	create func(s cf.ContainerSpec) error                            // may refuse
	oom    bool
}

type box struct {
	info    cf.ContainerInfo
	out     *swap
	signals chan int
	kill    context.CancelFunc
	done    chan struct{}
	exit    cf.Exit
}

// swap is a stream whose reader may change.
type swap struct {
	mu sync.Mutex
	to io.Writer
}

func (s *swap) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		return len(p), nil
	}
	return s.to.Write(p)
}

func (s *swap) set(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = w
}

func (h *host) box(handle string) (*box, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.boxes[handle]; b != nil {
		return b, nil
	}
	return nil, cf.Errorf(cf.KindNotFound, "", "no container %s", handle)
}

func (h *host) Reserve(_ context.Context, handle string, ports []int) (cf.ContainerInfo, error) {
	info := cf.ContainerInfo{Address: "127.0.0.1"}
	for i, p := range ports {
		info.Ports = append(info.Ports, cf.PortMapping{Container: p, Host: 61000 + i})
	}
	return info, nil
}

func (h *host) Create(ctx context.Context, s cf.ContainerSpec) (cf.ContainerInfo, error) {
	if h.create != nil {
		if err := h.create(s); err != nil {
			return cf.ContainerInfo{}, err
		}
	}
	info, _ := h.Reserve(ctx, s.Handle, s.Ports)
	info.Spec = s
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boxes[s.Handle] = &box{info: info, out: &swap{}, signals: make(chan int, 10), done: make(chan struct{})}
	return info, nil
}

func (h *host) Start(_ context.Context, handle string, s cf.Streams) error {
	b, err := h.box(handle)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b.info.Started = true
	b.out.set(s.Out)
	ctx, kill := context.WithCancel(context.Background())
	b.kill = kill
	run := h.main
	if len(b.info.Spec.Program.Args) > 1 && b.info.Spec.Program.Args[1] == "idle" {
		run = untilSignal
	}
	go func() {
		code := run(ctx, b.info.Spec.Program, cf.Streams{Out: b.out, Err: b.out}, b.signals)
		if ctx.Err() != nil {
			code = 137
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		b.exit, b.info.Exited = cf.Exit{Code: code, OOM: h.oom, At: time.Now()}, true
		close(b.done)
	}()
	return nil
}

func untilSignal(ctx context.Context, _ cf.Program, _ cf.Streams, signals <-chan int) int {
	select {
	case s := <-signals:
		return 128 + s
	case <-ctx.Done():
		return 137
	}
}

func (h *host) Attach(_ context.Context, handle string, s cf.Streams) error {
	b, err := h.box(handle)
	if err == nil {
		b.out.set(s.Out)
	}
	return err
}

func (h *host) Exec(ctx context.Context, handle string, p cf.Program, s cf.Streams) (cf.Exit, error) {
	if _, err := h.box(handle); err != nil {
		return cf.Exit{}, err
	}
	code := h.exec(ctx, p, s)
	return cf.Exit{Code: code}, ctx.Err()
}

func (h *host) Wait(ctx context.Context, handle string) (cf.Exit, error) {
	b, err := h.box(handle)
	if err != nil {
		return cf.Exit{}, err
	}
	select {
	case <-b.done:
		return b.exit, nil
	case <-ctx.Done():
		return cf.Exit{}, ctx.Err()
	}
}

func (h *host) Kill(_ context.Context, handle string, signal int) error {
	b, err := h.box(handle)
	if err != nil {
		return err
	}
	if signal == 9 {
		b.kill()
	} else {
		b.signals <- signal
	}
	return nil
}

func (h *host) Delete(_ context.Context, handle string) error {
	h.mu.Lock()
	b := h.boxes[handle]
	delete(h.boxes, handle)
	h.mu.Unlock()
	if b != nil && b.kill != nil {
		b.kill()
		<-b.done
	}
	return nil
}

func (h *host) Stats(_ context.Context, handle string) (cf.ContainerStats, error) {
	_, err := h.box(handle)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats, err
}

func (h *host) List(context.Context) (out []cf.ContainerInfo, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.boxes {
		out = append(out, b.info)
	}
	return out, nil
}

func (h *host) HasLayer(_ context.Context, image string, l cf.Layer) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.layers[image+l.Digest+l.Prefix], nil
}

func (h *host) AddLayer(_ context.Context, image string, l cf.Layer, r io.Reader) error {
	text, err := io.ReadAll(r)
	if sum := sha256.Sum256(text); err == nil && hex.EncodeToString(sum[:]) != l.Digest {
		err = errors.New("digest differs")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.layers[image+l.Digest+l.Prefix] = err == nil
	h.adds++
	return err
}

func (h *host) Images(context.Context) ([]string, error) { return []string{"cflinuxfs4"}, nil }

func (h *host) Capacity(context.Context) (cf.Resources, error) {
	return cf.Resources{MemoryMB: 4096, DiskMB: 8192}, nil
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.boxes)
}

// board is a cf.LRPBoard that writes down what it hears.
type board struct {
	mu      sync.Mutex
	said    []string
	started []cf.ActualLRP
	crashes []cf.Crash
	done    []cf.Task
	why     string           // of the last that was refused
	refuse  map[string]error // by verb
	lrps    []cf.ActualLRP   // what it holds
	desired []cf.DesiredLRP
	tasks   []cf.Task
}

func (b *board) hear(verb, id string, f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refuse[verb]; err != nil {
		return err
	}
	b.said = append(b.said, verb+" "+id)
	if f != nil {
		f()
	}
	return nil
}

func (b *board) Claimed(_ context.Context, a cf.ActualLRP) error {
	return b.hear("claimed", string(a.Instance), nil)
}
func (b *board) Started(_ context.Context, a cf.ActualLRP) error {
	return b.hear("started", string(a.Instance), func() { b.started = append(b.started, a) })
}
func (b *board) Crashed(_ context.Context, c cf.Crash) error {
	return b.hear("crashed", string(c.Instance), func() { b.crashes = append(b.crashes, c) })
}
func (b *board) Stopped(_ context.Context, a cf.ActualLRP) error {
	return b.hear("stopped", string(a.Instance), nil)
}
func (b *board) Refused(_ context.Context, a cf.ActualLRP, why string) error {
	return b.hear("refused", string(a.Instance), func() { b.why = why })
}
func (b *board) Room(_ context.Context, id cf.CellID) error { return b.hear("room", string(id), nil) }
func (b *board) TaskRefused(_ context.Context, id cf.TaskID, _ cf.CellID, why string) error {
	return b.hear("task refused", string(id), func() { b.why = why })
}
func (b *board) TaskStarted(_ context.Context, id cf.TaskID, _ cf.CellID) error {
	return b.hear("task started", string(id), nil)
}
func (b *board) TaskDone(_ context.Context, t cf.Task) error {
	return b.hear("task done", string(t.ID), func() { b.done = append(b.done, t) })
}
func (b *board) Holds(context.Context, cf.CellID) ([]cf.ActualLRP, []cf.DesiredLRP, []cf.Task, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lrps, b.desired, b.tasks, b.refuse["holds"]
}

func (b *board) set(verb string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse[verb] = err
}

func (b *board) heard(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.said, what)
}

func (b *board) count(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.said {
		if s == what {
			n++
		}
	}
	return n
}

// store is a cf.Blobs in memory: what the cell needs of it.
type store struct {
	cf.Blobs
	mu    sync.Mutex
	blobs map[string][]byte
	opens int
	put   error
}

func (s *store) Open(_ context.Context, key string) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	b, ok := s.blobs[key]
	if !ok {
		return nil, 0, cf.Errorf(cf.KindNotFound, "", "no blob %s", key)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (s *store) Put(ctx context.Context, kind cf.BlobKind, r io.Reader) (cf.Blob, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return cf.Blob{}, err
	}
	sum := sha256.Sum256(text)
	return s.keep(string(kind)+"/"+hex.EncodeToString(sum[:]), text)
}

func (s *store) PutNamed(_ context.Context, kind cf.BlobKind, name string, r io.Reader) (cf.Blob, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return cf.Blob{}, err
	}
	return s.keep(string(kind)+"/"+name, text)
}

func (s *store) keep(key string, text []byte) (cf.Blob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put != nil {
		return cf.Blob{}, s.put
	}
	s.blobs[key] = text
	sum := sha256.Sum256(text)
	return cf.Blob{Key: key, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(text))}, nil
}

// logs keeps envelopes.
type logs struct {
	mu  sync.Mutex
	all []cf.Envelope
}

func (l *logs) Emit(e cf.Envelope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// lines are "[SOURCE] text", with ! on stderr.
func (l *logs) lines() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Log != nil {
			mark := ""
			if e.Log.Err {
				mark = "!"
			}
			out = append(out, "["+e.Tags["source_type"]+"]"+mark+" "+string(e.Log.Payload))
		}
	}
	return out
}

func (l *logs) has(line string) bool { return slices.Contains(l.lines(), line) }

type world struct {
	*Cell
	t     *testing.T
	host  *host
	board *board
	store *store
	logs  *logs
	data  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, data: t.TempDir(),
		host:  &host{boxes: map[string]*box{}, layers: map[string]bool{}, main: untilSignal},
		board: &board{refuse: map[string]error{}},
		store: &store{blobs: map[string][]byte{}},
		logs:  &logs{},
	}
	w.Cell = w.cell()
	return w
}

// cell makes another cell on the same host, as a restart of Ingot does.
func (w *world) cell() *Cell {
	return &Cell{ID: "cell-1", Address: "10.0.0.9", Data: w.data, Containers: w.host, Board: w.board, Blobs: w.store, Logs: w.logs,
		helpers: fstest.MapFS{"bin/lifecycle": {Data: []byte("helper")}}, times: times{grace: 200 * time.Millisecond, sample: time.Hour, retry: 5 * time.Millisecond}}
}

func (w *world) start() *world {
	w.t.Helper()
	if err := w.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	c := w.Cell
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			w.t.Error(err)
		}
	})
	return w
}

// restart is a kill and a new start: the old cell hears nothing more.
func (w *world) restart() {
	w.t.Helper()
	if err := w.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.Cell = w.cell()
	w.start()
}

func (w *world) await(what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.board.mu.Lock()
			defer w.board.mu.Unlock()
			w.t.Fatalf("%s did not happen; the board heard %q, the log says\n%s", what, w.board.said, strings.Join(w.logs.lines(), "\n"))
		}
	}
}

func (w *world) hears(what string) {
	w.t.Helper()
	w.await(what, func() bool { return w.board.heard(what) })
}

func (w *world) says(line string) {
	w.t.Helper()
	w.await(line, func() bool { return w.logs.has(line) })
}

func (w *world) blob(kind cf.BlobKind, text []byte) string {
	b, err := w.store.Put(w.t.Context(), kind, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return b.Key
}

func (w *world) lrp(ports ...int) (cf.DesiredLRP, cf.ActualLRP) {
	d := cf.DesiredLRP{ID: "p-1", AppID: "app", Process: "p", Type: "web", Stack: "cflinuxfs4", Droplet: w.blob(cf.BlobDroplet, []byte("droplet")),
		Start: "./run", Env: []string{"FOO=bar"}, Limits: cf.Limits{MemoryMB: 64, DiskMB: 128, LogBytesPerSec: -1}, Ports: ports,
		Health: cf.HealthCheck{Type: "process"}, MetricTags: map[string]string{"app_name": "dora"}, VCAPApp: map[string]any{"application_name": "dora"}}
	return d, cf.ActualLRP{LRP: d.ID, AppID: d.AppID, Process: d.Process, Index: 1, Instance: "i-1", State: cf.LRPUnclaimed}
}

func vars(list []string) map[string]string {
	out := map[string]string{}
	for _, e := range list {
		k, v, _ := strings.Cut(e, "=")
		out[k] = v
	}
	return out
}
