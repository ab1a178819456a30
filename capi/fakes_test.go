package capi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/capi"
	"ingot/cf"
	"ingot/rest/doc"
	"ingot/rest/resttest"
)

// scheduler stands for Diego: it keeps what it is asked and runs nothing. Set a func to change what it answers.
type scheduler struct {
	mu      sync.Mutex
	desired map[cf.ProcessID]cf.DesiredLRP
	tasks   map[cf.TaskID]cf.Task
	calls   []string

	fail     func(call string) error                        // nil: nothing fails
	instance func(d cf.DesiredLRP, index int) *cf.ActualLRP // nil: all are running
}

func newScheduler() *scheduler {
	return &scheduler{desired: map[cf.ProcessID]cf.DesiredLRP{}, tasks: map[cf.TaskID]cf.Task{}}
}

func (s *scheduler) call(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, text)
	if s.fail != nil {
		return s.fail(text)
	}
	return nil
}

func (s *scheduler) Desire(_ context.Context, d cf.DesiredLRP) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("desire %s x%d", d.ID, d.Instances); err != nil {
		return err
	}
	if old, ok := s.desired[d.ID]; !ok || !d.Updated.Before(old.Updated) {
		s.desired[d.ID] = d
	}
	return nil
}

func (s *scheduler) Undesire(_ context.Context, id cf.ProcessID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("undesire %s", id); err != nil {
		return err
	}
	delete(s.desired, id)
	return nil
}

func (s *scheduler) Desired(_ context.Context, app cf.AppID) ([]cf.DesiredLRP, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []cf.DesiredLRP
	for _, d := range s.desired {
		if app == "" || d.AppID == app {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *scheduler) Instances(_ context.Context, apps ...cf.AppID) ([]cf.ActualLRP, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []cf.ActualLRP
	for _, d := range s.desired {
		for i := range d.Instances {
			a := &cf.ActualLRP{State: cf.LRPRunning, Routable: true, Ready: true, Since: time.Now().Add(-time.Minute), Host: "10.0.0.1",
				Address: "10.0.0.2", Ports: []cf.PortMapping{{Container: 8080, Host: 61001}}, Instance: cf.InstanceID(fmt.Sprintf("%s-%d", d.ID, i))}
			if s.instance != nil {
				a = s.instance(d, i)
			}
			if a != nil {
				a.LRP, a.AppID, a.Process, a.Index = d.ID, d.AppID, d.Process, i
				out = append(out, *a)
			}
		}
	}
	return out, nil
}

func (s *scheduler) StopInstance(_ context.Context, id cf.ProcessID, index int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.call("stop %s/%d", id, index)
}

func (s *scheduler) Stats(ctx context.Context, app cf.AppID) (map[cf.InstanceID]cf.InstanceStats, error) {
	all, _ := s.Instances(ctx, app)
	out := map[cf.InstanceID]cf.InstanceStats{}
	for _, a := range all {
		out[a.Instance] = cf.InstanceStats{CPU: 0.25, CPUEntitlement: 0.5, MemoryBytes: 1 << 20, DiskBytes: 2 << 20, LogRate: 7, At: time.Now()}
	}
	return out, nil
}

func (s *scheduler) Run(_ context.Context, t cf.Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("run %s", t.ID); err != nil {
		return err
	}
	if _, known := s.tasks[t.ID]; !known {
		s.tasks[t.ID] = t
	}
	return nil
}

func (s *scheduler) Cancel(_ context.Context, id cf.TaskID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.call("cancel %s", id)
}

// task is the task of a build, if it was asked for.
func (s *scheduler) task(id string) (cf.Task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tasks[cf.TaskID(id)]
	return t, ok
}

// lrps are the desired LRPs of an app by process type.
func (s *scheduler) lrps(app string) map[string]cf.DesiredLRP {
	all, _ := s.Desired(context.Background(), cf.AppID(app))
	out := map[string]cf.DesiredLRP{}
	for _, d := range all {
		out[d.Type] = d
	}
	return out
}

// blobs stands for bits.
type blobs struct {
	mu      sync.Mutex
	data    map[string][]byte
	deleted []string
	pack    func(zip io.Reader, rs []cf.Resource) error // before the zip is read
}

func (b *blobs) Put(_ context.Context, kind cf.BlobKind, r io.Reader) (cf.Blob, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return cf.Blob{}, err
	}
	sum := sha256.Sum256(raw)
	blob := cf.Blob{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(raw))}
	blob.Key = string(kind) + "/" + blob.SHA256
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data[blob.Key] = raw
	return blob, nil
}

func (b *blobs) PutNamed(ctx context.Context, kind cf.BlobKind, _ string, r io.Reader) (cf.Blob, error) {
	return b.Put(ctx, kind, r)
}

func (b *blobs) Open(_ context.Context, key string) (io.ReadCloser, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	raw, ok := b.data[key]
	if !ok {
		return nil, 0, &cf.Error{Kind: cf.KindNotFound}
	}
	return io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), nil
}

func (b *blobs) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted = append(b.deleted, key)
	delete(b.data, key)
	return nil
}

func (b *blobs) DeleteNamed(_ context.Context, kind cf.BlobKind, prefix string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted = append(b.deleted, string(kind)+":"+prefix)
	return nil
}

func (b *blobs) Match(_ context.Context, _ string, rs []cf.Resource) (out []cf.Resource, _ error) {
	for _, r := range rs {
		if strings.HasPrefix(r.SHA1, "a") {
			out = append(out, r)
		}
	}
	return out, nil
}

// await waits until ok answers true.
func (w *world) await(what string, ok func() bool) {
	w.T.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			w.T.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// packs are the keys of the buildpacks that are stored.
func (b *blobs) packs() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.data {
		if strings.HasPrefix(k, "buildpacks/") {
			out = append(out, k)
		}
	}
	return out
}

func (b *blobs) get(key string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data[key]
}

func (b *blobs) gone() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.deleted)
}

// Droplet refuses what bits refuses: here, what is no gzip.
func (b *blobs) Droplet(ctx context.Context, in io.Reader) (cf.Blob, error) {
	if b.pack != nil {
		if err := b.pack(in, nil); err != nil {
			return cf.Blob{}, err
		}
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return cf.Blob{}, err
	}
	if !bytes.HasPrefix(raw, []byte("\x1f\x8b")) {
		return cf.Blob{}, cf.Errorf(cf.KindInvalid, "DropletUploadInvalid", "The droplet upload is invalid: it is not a tar.gz archive")
	}
	return b.Put(ctx, cf.BlobDroplet, bytes.NewReader(raw))
}

// Buildpack refuses what bits refuses: here, what is no zip. The stack is that of a file "stack=x".
func (b *blobs) Buildpack(ctx context.Context, in io.Reader) (cf.Blob, string, error) {
	raw, err := io.ReadAll(in)
	if err != nil {
		return cf.Blob{}, "", err
	}
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return cf.Blob{}, "", cf.Wrap(cf.KindUnprocessable, "BuildpackZipError", "Buildpack zip error: buildpack zipfile is not valid", err)
	}
	stack := ""
	for _, f := range z.File {
		if name, ok := strings.CutPrefix(f.Name, "stack="); ok {
			stack = name
		}
	}
	blob, err := b.Put(ctx, cf.BlobBuildpack, bytes.NewReader(raw))
	return blob, stack, err
}

// Package refuses what bits refuses: here, what is no zip or has an entry that leads out.
func (b *blobs) Package(ctx context.Context, _ string, in io.Reader, rs []cf.Resource) (cf.Blob, error) {
	if b.pack != nil {
		if err := b.pack(in, rs); err != nil {
			return cf.Blob{}, err
		}
	}
	var raw []byte
	if in != nil {
		var err error
		if raw, err = io.ReadAll(in); err != nil {
			return cf.Blob{}, err
		}
		z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return cf.Blob{}, cf.Wrap(cf.KindInvalid, "AppBitsUploadInvalid", "Invalid zip archive.", err)
		}
		for _, f := range z.File {
			if strings.Contains(f.Name, "..") {
				return cf.Blob{}, cf.Errorf(cf.KindInvalid, "AppBitsUploadInvalid", "The path '%s' leads out of the app", f.Name)
			}
		}
	}
	return b.Put(ctx, cf.BlobPackage, bytes.NewReader(append(raw, fmt.Sprint(rs)...)))
}

func (b *blobs) SignURL(key string, _ time.Time) string {
	return "https://api.ingot.test/blobs/" + key + "?signature=x"
}

// logs keeps the lines of apps.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Emit(e cf.Envelope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%s [%s/%s] %s", e.SourceID, e.Tags["source_type"], e.InstanceID, e.Log.Payload))
}

func (l *logs) has(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, have := range l.lines {
		if have == line {
			return true
		}
	}
	return false
}

// world is an API with all that it stands on.
type world struct {
	*resttest.API
	api   *capi.API
	sched *scheduler
	blobs *blobs
	logs  *logs
	rec   *doc.Recorder // hears every request
}

// send is a request with a body of a type of its own.
func (w *world) send(user, line, kind string, body io.Reader) resttest.Answer {
	w.T.Helper()
	method, path, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, strings.TrimPrefix(path, "https://api.ingot.test"), body)
	r.Header.Set("Authorization", "bearer "+user)
	r.Header.Set("Content-Type", kind)
	rec := httptest.NewRecorder()
	w.rec.Wrap(w.api.Handler()).ServeHTTP(rec, r)
	out := resttest.Answer{Status: rec.Code, Header: rec.Header(), Text: rec.Body.String()}
	if strings.HasPrefix(out.Text, "{") {
		if err := json.Unmarshal(rec.Body.Bytes(), &out.JSON); err != nil {
			w.T.Fatalf("%s: answer is no JSON: %s", line, out.Text)
		}
	}
	return out
}

func (w *world) must(status int, r resttest.Answer) resttest.Answer {
	w.T.Helper()
	if r.Status != status {
		w.T.Fatalf("status %d, want %d: %s", r.Status, status, r.Text)
	}
	return r
}

// yaml sends a manifest.
func (w *world) yaml(user, line, text string) resttest.Answer {
	w.T.Helper()
	return w.send(user, line, "application/x-yaml", strings.NewReader(text))
}

// zipped makes a zip of files.
func zipped(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range files {
		f, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(f, "content of "+name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// until waits for something that happens in the background.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("it did not happen: " + what)
}
