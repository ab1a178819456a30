package bits

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ingot/bits/sign"
	"ingot/cf"
)

var ctx = context.Background()

func newBits(t testing.TB, f func(b *Bits)) *Bits {
	t.Helper()
	b := &Bits{Dir: filepath.Join(t.TempDir(), "blobs"), Keys: sign.Keys{{Secret: "s3cret"}}, Endpoint: "https://api.ingot.test"}
	if f != nil {
		f(b)
	}
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

func contents(t testing.TB, b *Bits, key string) string {
	t.Helper()
	r, size, err := b.Open(ctx, key)
	if cf.IsKind(err, cf.KindNotFound) {
		return "not found"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	body, err := io.ReadAll(r)
	if err != nil || int64(len(body)) != size {
		t.Fatalf("read %d of %d: %v", len(body), size, err)
	}
	return string(body)
}

// zipOf makes a zip of name, body pairs.
func zipOf(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i := 0; i < len(pairs); i += 2 {
		h := &zip.FileHeader{Name: pairs[i], Method: zip.Deflate}
		h.SetMode(0o755)
		if strings.HasSuffix(pairs[i], "@") {
			h.Name = strings.TrimSuffix(pairs[i], "@")
			h.SetMode(fs.ModeSymlink | 0o777)
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, pairs[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func resource(path, mode, body string) cf.Resource {
	sum := sha1.Sum([]byte(body))
	return cf.Resource{SHA1: hex.EncodeToString(sum[:]), Size: int64(len(body)), Path: path, Mode: mode}
}

func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return string(b)
}

func TestPutAndOpen(t *testing.T) {
	b := newBits(t, nil)
	for range 2 { // the second is the same blob
		got, err := b.Put(ctx, cf.BlobDroplet, strings.NewReader("hello"))
		want := cf.Blob{Key: "droplets/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", Size: 5,
			SHA256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
		if err != nil || got != want || contents(t, b, got.Key) != "hello" {
			t.Fatalf("%+v %v", got, err)
		}
	}
	for _, key := range []string{"", "droplets", "droplets/", "droplets/x", "nothing/x", "app_stash/aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
		"droplets/../../etc/passwd", "buildpack_cache/../x", "buildpack_cache/a/b", "/etc/passwd", "deleted/droplets/x", ".uploads/x"} {
		if got := contents(t, b, key); got != "not found" {
			t.Errorf("%q: %q", key, got)
		}
		if err := b.Delete(ctx, key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, kind := range []cf.BlobKind{cf.BlobCache, cf.BlobResource, "", "../x"} {
		if _, err := b.Put(ctx, kind, strings.NewReader("x")); !cf.IsKind(err, cf.KindInvalid) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

func TestNamed(t *testing.T) {
	b := newBits(t, nil)
	for _, body := range []string{"one", "two", ""} {
		got, err := b.PutNamed(ctx, cf.BlobCache, "app-1-cflinuxfs4", strings.NewReader(body))
		if err != nil || got.Key != "buildpack_cache/app-1-cflinuxfs4" || contents(t, b, got.Key) != body {
			t.Errorf("%+v %v", got, err)
		}
	}
	for _, name := range []string{"app-2-x", "other-x"} {
		if _, err := b.PutNamed(ctx, cf.BlobCache, name, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "-a", strings.Repeat("a", 256)} {
		if _, err := b.PutNamed(ctx, cf.BlobCache, name, strings.NewReader("x")); !cf.IsKind(err, cf.KindInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := errors.Join(b.DeleteNamed(ctx, cf.BlobCache, "app-1-"), b.Delete(ctx, "buildpack_cache/app-2-x")); err != nil {
		t.Fatal(err)
	}
	if one, two, other := contents(t, b, "buildpack_cache/app-1-cflinuxfs4"), contents(t, b, "buildpack_cache/app-2-x"), contents(t, b, "buildpack_cache/other-x"); one != "not found" || two != "not found" || other != "x" {
		t.Errorf("%q %q %q", one, two, other)
	}
	if err := b.DeleteNamed(ctx, cf.BlobDroplet, ""); !cf.IsKind(err, cf.KindInvalid) {
		t.Errorf("droplets by name: %v", err)
	}
}

// The first push uploads everything; the second only what changed, and gets the rest from the store.
func TestPackageOfMatchedResources(t *testing.T) {
	b := newBits(t, nil)
	big, small := random(100<<10), random(1000)
	up := zipOf(t, "lib/big", big, "small", small, "ln@", "lib/big")
	first, err := b.Package(ctx, "", bytes.NewReader(up), nil)
	if err != nil || contents(t, b, first.Key) != string(up) {
		t.Fatalf("%+v %v", first, err)
	}
	ask := []cf.Resource{resource("lib/big", "755", big), resource("small", "644", small), resource("other", "644", random(100<<10)),
		{SHA1: "../../../../etc/passwd", Size: 100 << 10}, {SHA1: resource("", "", big).SHA1, Size: 100<<10 + 1}, {}}
	got, err := b.Match(ctx, "", ask)
	if err != nil || len(got) != 1 || got[0] != ask[0] {
		t.Fatalf("matched %+v %v", got, err)
	}
	got = append(got, resource("bin/copy", "", big), resource("new", "600", big))
	second, err := b.Package(ctx, "", bytes.NewReader(zipOf(t, "small", "changed", "ln@", "lib/big", "new", "stays")), got)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Package(ctx, "", bytes.NewReader(zipOf(t, "small", "changed", "ln@", "lib/big", "new", "stays")), got)
	if err != nil || again != second {
		t.Errorf("not the same again: %+v %+v %v", second, again, err)
	}
	body := contents(t, b, second.Key)
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		mode fs.FileMode
		body string
	}{"lib/big": {0o755, big}, "small": {0o755, "changed"}, "ln": {fs.ModeSymlink | 0o777, "lib/big"}, "bin/copy": {0o744, big}, "new": {0o755, "stays"}}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if w := want[f.Name]; err != nil || f.Mode() != w.mode || string(body) != w.body {
			t.Errorf("%s: %v, %d bytes, %v", f.Name, f.Mode(), len(body), err)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
	if only, err := b.Package(ctx, "", nil, got[:1]); err != nil || only.Size < 1000 {
		t.Errorf("resources alone: %+v %v", only, err)
	}
}

// An app of few small files needs no upload when it comes again, but only its sender can tell that it is there.
func TestSmallFilesAreTheirOwners(t *testing.T) {
	b := newBits(t, nil)
	pack := func(n int) (up []byte, rs []cf.Resource) {
		var pairs []string
		for i := range n {
			body := fmt.Sprint("DB_PASSWORD=", i, "/", n)
			pairs, rs = append(pairs, fmt.Sprint("f", i), body), append(rs, resource(fmt.Sprint("f", i), "644", body))
		}
		return zipOf(t, pairs...), rs
	}
	send := func(owner string, up io.Reader, rs []cf.Resource) (cf.Blob, error) {
		return b.Package(ctx, owner, up, rs)
	}
	found := func(owner string, rs []cf.Resource) int {
		t.Helper()
		got, err := b.Match(ctx, owner, rs)
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	few, fewer := pack(50)
	many, more := pack(51)
	for _, up := range [][]byte{few, many, few} {
		if _, err := send("me", bytes.NewReader(up), nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		owner string
		rs    []cf.Resource
		want  int
	}{
		"all": {"me", fewer, 50}, "some": {"me", fewer[7:9], 2}, "another": {"you", fewer, 0}, "nobody": {"", fewer, 0},
		"many": {"me", more, 0}, "of many": {"me", more[:20], 0}, "too many at once": {"me", append(more[:1:1], fewer...), 0},
		"another size": {"me", []cf.Resource{{SHA1: fewer[0].SHA1, Size: 7}}, 0}, "no digest": {"me", []cf.Resource{{SHA1: "../../x", Size: 7}}, 0},
	} {
		if n := found(c.owner, c.rs); n != c.want {
			t.Errorf("%s: %d matched, want %d", name, n, c.want)
		}
	}
	if _, err := send("you", nil, fewer[:1]); !cf.IsKind(err, cf.KindInvalid) {
		t.Errorf("another's file: %v", err)
	}
	got, err := send("me", nil, fewer)
	if err != nil {
		t.Fatal(err)
	}
	body := contents(t, b, got.Key)
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil || len(z.File) != 50 {
		t.Fatalf("%d files, %v", len(z.File), err)
	}
	f, err := z.Open("f49")
	if err != nil {
		t.Fatal(err)
	}
	// Files are told apart by their time where their size is the same; it is when they came first, not this moment.
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := filepath.WalkDir(filepath.Join(b.Dir, "app_stash", "own"), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, first, first))
	}); err != nil {
		t.Fatal(err)
	}
	for _, up := range []io.Reader{bytes.NewReader(few), nil} { // uploaded again, it is not written again
		rs := fewer
		if up != nil {
			rs = nil
		}
		if got, err = send("me", up, rs); err != nil {
			t.Fatal(err)
		}
	}
	body = contents(t, b, got.Key)
	if z, err := zip.NewReader(strings.NewReader(body), int64(len(body))); err != nil || !z.File[0].Modified.Equal(first) {
		t.Errorf("%v %v", z.File[0].Modified, err)
	}
	if text, err := io.ReadAll(f); err != nil || string(text) != "DB_PASSWORD=49/50" {
		t.Errorf("%q %v", text, err)
	}
}

func TestBadPackages(t *testing.T) {
	b := newBits(t, func(b *Bits) { b.MaxPackage = 1 << 20 })
	big := random(100 << 10)
	if _, err := b.Package(ctx, "me", bytes.NewReader(zipOf(t, "big", big)), nil); err != nil {
		t.Fatal(err)
	}
	spoiled := zipOf(t, "big", big)
	spoiled[len(spoiled)/2] ^= 1
	bomb := zipOf(t, "a", strings.Repeat("\x00", 600<<10), "b", strings.Repeat("\x00", 600<<10))
	liar := zipOf(t, "a", strings.Repeat("\x00", 2<<20))
	for at := 0; ; { // says everywhere that it is small
		i := bytes.Index(liar[at:], []byte{0, 0, 0x20, 0})
		if i < 0 {
			break
		}
		at += i
		copy(liar[at:], []byte{0, 0, 0x02, 0})
	}
	many := make([]cf.Resource, 11)
	for i := range many {
		many[i] = resource(fmt.Sprint(i), "644", big)
	}
	half := zipOf(t, "a", "b")
	for _, c := range []struct {
		name string
		zip  io.Reader
		rs   []cf.Resource
		code string
		want string
	}{
		{"nothing", nil, nil, "AppBitsUploadInvalid", "neither a zip nor a resource"},
		{"no zip", strings.NewReader("hello"), nil, "AppBitsUploadInvalid", "Invalid zip archive."},
		{"empty", strings.NewReader(""), nil, "AppBitsUploadInvalid", "Invalid zip archive."},
		{"up", bytes.NewReader(zipOf(t, "../a", "b")), nil, "AppBitsUploadInvalid", "outside of root folder"},
		{"link out", bytes.NewReader(zipOf(t, "a@", "../b")), nil, "AppBitsUploadInvalid", "outside of root folder"},
		{"cut", bytes.NewReader(half[:len(half)-10]), nil, "AppBitsUploadInvalid", "Invalid zip archive."},
		{"cut on the wire", io.MultiReader(bytes.NewReader(half[:10]), failing{}), nil, "AppBitsUploadInvalid", "ended too early"},
		{"spoiled", bytes.NewReader(spoiled), nil, "AppBitsUploadInvalid", "Invalid zip archive."},
		{"bomb", bytes.NewReader(bomb), nil, "AppPackageInvalid", "Package may not be larger than 1048576 bytes"},
		{"lying bomb", bytes.NewReader(liar), nil, "AppBitsUploadInvalid", "Invalid zip archive."},
		{"too big an upload", bytes.NewReader(zipOf(t, "a", random(1100<<10))), nil, "AppPackageInvalid", "Package may not be larger"},
		{"too many resources", nil, many, "AppPackageInvalid", "Package may not be larger"},
		{"unknown resource", nil, []cf.Resource{resource("a", "", random(100<<10))}, "AppBitsUploadInvalid", "not stored"},
		{"wrong size", nil, []cf.Resource{{SHA1: "../../x", Size: 100 << 10, Path: "a"}}, "AppBitsUploadInvalid", "not stored"},
		{"resource up", nil, []cf.Resource{resource("../a", "", big)}, "AppResourcesFilePathInvalid", "File path '../a' is not safe."},
		{"absolute resource", nil, []cf.Resource{resource("/a", "", big)}, "AppResourcesFilePathInvalid", "is not safe."},
		{"no path", nil, []cf.Resource{resource("", "", big)}, "AppResourcesFilePathInvalid", "is not safe."},
		{"folder", nil, []cf.Resource{resource("a/", "", big)}, "AppResourcesFilePathInvalid", "is not safe."},
		{"below a link", bytes.NewReader(zipOf(t, "a@", "b")), []cf.Resource{resource("a/b", "", big)}, "AppBitsUploadInvalid", "not a folder"},
		{"twice", nil, []cf.Resource{resource("a/b", "", big), resource("a", "", big)}, "AppBitsUploadInvalid", "twice"},
		{"mode", nil, []cf.Resource{resource("a", "banana", big)}, "AppResourcesFileModeInvalid", "File mode 'banana' is invalid. Minimum file mode is '0600'"},
		{"tight mode", nil, []cf.Resource{resource("a", "344", big)}, "AppResourcesFileModeInvalid", "File mode '344' is invalid"},
	} {
		_, err := b.Package(ctx, "me", c.zip, c.rs)
		var e *cf.Error
		if !errors.As(err, &e) || e.Kind != cf.KindInvalid || e.Code != c.code || !strings.Contains(e.Public, c.want) {
			t.Errorf("%s: got %v, want %s %q", c.name, err, c.code, c.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(b.Dir, ".uploads")); len(left) > 0 || err != nil {
		t.Errorf("left %v %v", left, err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A kept file that went bad on the disk does not get into a package.
func TestSpoiledResource(t *testing.T) {
	b := newBits(t, nil)
	big := random(100 << 10)
	if _, err := b.Package(ctx, "me", bytes.NewReader(zipOf(t, "big", big)), nil); err != nil {
		t.Fatal(err)
	}
	r := resource("big", "", big)
	at := filepath.Join(b.Dir, "app_stash", r.SHA1[:2], r.SHA1[2:4], r.SHA1)
	if err := os.WriteFile(at, []byte(random(100<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Package(ctx, "me", nil, []cf.Resource{r}); err == nil || cf.KindOf(err) != cf.KindInternal {
		t.Errorf("got %v", err)
	}
}

func TestStoreFull(t *testing.T) {
	b := newBits(t, func(b *Bits) { b.MinFree = 1 << 62 })
	_, put := b.Put(ctx, cf.BlobDroplet, strings.NewReader("x"))
	_, pack := b.Package(ctx, "me", bytes.NewReader(zipOf(t, "a", "b")), nil)
	for _, err := range []error{put, pack} {
		var e *cf.Error
		if !errors.As(err, &e) || e.Kind != cf.KindNoRoom || e.Code != "BlobstoreUnavailable" {
			t.Errorf("got %v", err)
		}
	}
}

func TestDeleteAfterGrace(t *testing.T) {
	b := newBits(t, func(b *Bits) { b.Grace = time.Nanosecond })
	blob, err := b.Put(ctx, cf.BlobPackage, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, blob.Key); err != nil || contents(t, b, blob.Key) != "x" {
		t.Errorf("not swept yet: %v", err)
	}
	if err := b.store.Sweep(ctx); err != nil || contents(t, b, blob.Key) != "not found" {
		t.Errorf("swept: %v", err)
	}
	if err := b.Delete(ctx, blob.Key); err != nil {
		t.Errorf("again: %v", err)
	}
}

// Two pushes of the same bytes race with the deletion of an older copy: whoever was told that they are stored must find
// them after the grace, too.
func TestPutCancelsDelete(t *testing.T) {
	b := newBits(t, func(b *Bits) { b.Grace = time.Nanosecond })
	zip := zipOf(t, "app", "x")
	for name, put := range map[string]func() (cf.Blob, error){
		"put":     func() (cf.Blob, error) { return b.Put(ctx, cf.BlobDroplet, strings.NewReader("x")) },
		"package": func() (cf.Blob, error) { return b.Package(ctx, "me", bytes.NewReader(zip), nil) },
	} {
		blob, err := put()
		if err != nil {
			t.Fatal(err)
		}
		before := contents(t, b, blob.Key)
		if err := b.Delete(ctx, blob.Key); err != nil {
			t.Fatal(err)
		}
		if again, err := put(); err != nil || again != blob {
			t.Errorf("%s: again %+v: %v", name, again, err)
		}
		if err := b.store.Sweep(ctx); err != nil || contents(t, b, blob.Key) != before {
			t.Errorf("%s: swept although it was put again: %v", name, err)
		}
		if err := errors.Join(b.Delete(ctx, blob.Key), b.store.Sweep(ctx)); err != nil || contents(t, b, blob.Key) != "not found" {
			t.Errorf("%s: the later deletion does not count: %v", name, err)
		}
	}
}

// TestSweepAsksOnceMore keeps a deleted blob that is in use when its grace ends.
func TestSweepAsksOnceMore(t *testing.T) {
	ctx := t.Context()
	b := &Bits{Dir: t.TempDir(), Keys: sign.Keys{{Secret: "s"}}, Grace: time.Nanosecond}
	var asked string
	used := true
	b.InUse = func(_ context.Context, key string) (bool, error) { asked = key; return used, nil }
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Stop(ctx) }()
	blob, err := b.Put(ctx, cf.BlobPackage, strings.NewReader("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is no mark any more
		if err := errors.Join(b.Delete(ctx, blob.Key), b.store.Sweep(ctx), b.store.Sweep(ctx)); err != nil || contents(t, b, blob.Key) != "bytes" {
			t.Errorf("in use and swept: %v", err)
		}
	}
	used = false
	if err := errors.Join(b.Delete(ctx, blob.Key), b.store.Sweep(ctx)); err != nil || contents(t, b, blob.Key) != "not found" {
		t.Errorf("not in use and kept: %v", err)
	}
	if asked != blob.Key {
		t.Errorf("asked for %q, want %q", asked, blob.Key)
	}
}

func TestSignedURLs(t *testing.T) {
	b := newBits(t, nil)
	blob, err := b.Put(ctx, cf.BlobPackage, strings.NewReader("hello world"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutNamed(ctx, cf.BlobCache, "a-b", strings.NewReader("cache")); err != nil {
		t.Fatal(err)
	}
	good := b.SignURL(blob.Key, time.Time{})
	if !strings.HasPrefix(good, "https://api.ingot.test/bits/packages/"+blob.SHA256+"?") {
		t.Errorf("URL %s", good)
	}
	gone := "packages/" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name, method, url, ranges string
		status                    int
		body                      string
	}{
		{"whole", "GET", good, "", 200, "hello world"},
		{"head", "HEAD", good, "", 200, ""},
		{"range", "GET", good, "bytes=6-10", 206, "world"},
		{"from", "GET", good, "bytes=6-", 206, "world"},
		{"end", "GET", good, "bytes=-5", 206, "world"},
		{"no such range", "GET", good, "bytes=100-", 416, "invalid range: failed to overlap\n"},
		{"named", "GET", b.SignURL("buildpack_cache/a-b", time.Time{}), "", 200, "cache"},
		{"expired", "GET", b.SignURL(blob.Key, time.Now().Add(-time.Second)), "", 403, "the signature has expired\n"},
		{"unsigned", "GET", "https://api.ingot.test/bits/" + blob.Key, "", 403, "the URL is not signed\n"},
		{"other blob", "GET", strings.Replace(good, blob.SHA256, strings.Repeat("0", 64), 1), "", 403, "the signature is wrong\n"},
		{"gone", "GET", b.SignURL(gone, time.Time{}), "", 404, "the blob is not stored\n"},
		{"no blob", "GET", b.SignURL("secrets", time.Time{}), "", 404, "there is no blob \"secrets\"\n"},
		{"put", "PUT", good, "", 405, "Method Not Allowed\n"},
	} {
		r := httptest.NewRequest(c.method, c.url, nil)
		if c.ranges != "" {
			r.Header.Set("Range", c.ranges)
		}
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, r)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s: %d %q", c.name, w.Code, w.Body)
		}
		if c.name == "whole" && w.Header().Get("ETag") != `"`+blob.SHA256+`"` {
			t.Errorf("header %v", w.Header())
		}
	}
	r := httptest.NewRequest(http.MethodGet, good, nil)
	r.Header.Set("If-None-Match", `"`+blob.SHA256+`"`)
	w := httptest.NewRecorder()
	if b.Handler().ServeHTTP(w, r); w.Code != http.StatusNotModified {
		t.Errorf("cached: %d", w.Code)
	}
}

func TestNoKey(t *testing.T) {
	if err := (&Bits{Dir: t.TempDir()}).Start(ctx); err == nil {
		t.Error("started without a signing key")
	}
}

// bigZip streams a zip with one stored file of n bytes.
func bigZip(n int64) io.Reader {
	r, w := io.Pipe()
	go func() {
		z := zip.NewWriter(w)
		f, err := z.CreateHeader(&zip.FileHeader{Name: "big", Method: zip.Store})
		if err == nil {
			_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), n)
		}
		w.CloseWithError(errors.Join(err, z.Close()))
	}()
	return r
}

// 200 MB go through an upload, the keeping of its file and a package made of it again, and memory stays flat.
func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 800 MB")
	}
	const size, most = 200 << 20, 24 << 20
	b := newBits(t, nil)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, peak, stop := m.HeapAlloc, uint64(0), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	first, err := b.Package(ctx, "me", bigZip(size), nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.New()
	if _, err := io.CopyN(sum, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	second, err := b.Package(ctx, "me", nil, []cf.Resource{{SHA1: hex.EncodeToString(sum.Sum(nil)), Size: size, Path: "big"}})
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-done
	if first.Size < size || second.Size < size || peak > before+most {
		t.Errorf("sizes %d %d; heap %d MB before, %d MB at most", first.Size, second.Size, before>>20, peak>>20)
	}
	t.Logf("heap %d MB before, %d MB at most", before>>20, peak>>20)
}
