package script

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// overlapped is a zip of a few kB whose entries all say that they are the same 8 MB of zeros: together, 4 GB.
func overlapped(t *testing.T) []byte {
	t.Helper()
	const size, entries = 8 << 20, 512
	zeros := make([]byte, size)
	var packed bytes.Buffer
	f, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		_, err = f.Write(zeros)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	put := func(fields ...any) {
		for _, v := range fields {
			_ = binary.Write(&all, binary.LittleEndian, v) // to memory
		}
	}
	of := []any{uint16(20), uint16(0), uint16(8), uint32(0), crc32.ChecksumIEEE(zeros), uint32(packed.Len()), uint32(size), uint16(4), uint16(0)}
	put(uint32(0x04034b50))
	put(of...)
	put([]byte("0000"), packed.Bytes())
	directory := all.Len()
	for i := range entries {
		put(uint32(0x02014b50), uint16(3<<8|20))
		put(of...)
		put(uint16(0), uint16(0), uint16(0), uint32(0o100644<<16), uint32(0), fmt.Appendf(nil, "%04d", i))
	}
	size0 := all.Len() - directory
	put(uint32(0x06054b50), uint16(0), uint16(0), uint16(entries), uint16(entries), uint32(size0), uint32(directory), uint16(0))
	return all.Bytes()
}

// lying is a zip with one entry, of that name and mode, that is not what an app needs.
func lying(t *testing.T, name string, mode os.FileMode) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name}
	h.SetMode(mode)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write([]byte("/etc/passwd"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archives uploads zips that want out of their folder, are no files, or have no end.
func (w *abused) archives(t *testing.T) {
	bombs := map[string][]byte{
		"link": lying(t, "l", os.ModeSymlink|0o777), "device": lying(t, "sda", os.ModeDevice|0o600),
		"pipe": lying(t, "p", os.ModeNamedPipe|0o600), "parent": lying(t, "../../evil", 0o644), "bomb": overlapped(t),
	}
	if n := len(bombs["bomb"]); n > 64<<10 {
		t.Fatalf("the bomb has %d bytes", n)
	}
	w.Run(t, "cf", "create-app", "zips")
	guid := strings.TrimSpace(w.Run(t, "cf", "app", "zips", "--guid"))
	token := strings.TrimSpace(w.Run(t, "cf", "oauth-token"))
	for kind, bytes := range bombs {
		file := filepath.Join(w.Dir, kind+".zip")
		if err := os.WriteFile(file, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		send := func(path string) string {
			return w.Run(t, "curl", "-sk", "-H", "Authorization: "+token, "-F", "bits=@"+file, "https://api.ingot.test"+path)
		}
		p := w.create(t, "/v3/packages", `{"type":"bits","relationships":{"app":{"data":{"guid":"`+guid+`"}}}}`)
		want := `"code":160001,"title":"CF-AppBitsUploadInvalid"`
		if kind == "bomb" {
			want = `"code":150001,"title":"CF-AppPackageInvalid","detail":"The app package is invalid: Package may not be larger than 1073741824 bytes"`
		}
		if got := send("/v3/packages/" + p + "/upload"); !strings.Contains(got, want) {
			t.Errorf("package with a %s: %s", kind, got)
		}
		if _, doc := w.curl(t, "GET", "/v3/packages/"+p, ""); !strings.Contains(doc, `"state":"FAILED"`) {
			t.Errorf("package with a %s: %s", kind, doc)
		}
		b := w.create(t, "/v3/buildpacks", `{"name":"evil_`+kind+`"}`)
		if got := send("/v3/buildpacks/" + b + "/upload"); !strings.Contains(got, `"code":390013,"title":"CF-BuildpackZipError"`) {
			t.Errorf("buildpack with a %s: %s", kind, got)
		}
		w.Run(t, "cf", "curl", "-f", "-X", "DELETE", "/v3/buildpacks/"+b)
	}
	w.refused(t, []string{"buildpack may not unpack to more than"}, "create-buildpack", "evil", filepath.Join(w.Dir, "bomb.zip"), "98")
	w.Run(t, "cf", "delete-buildpack", "-f", "evil")
	w.Run(t, "cf", "delete", "-f", "zips")
}

// create posts a document and gives the guid of what came of it.
func (w *abused) create(t *testing.T, path, body string) string {
	t.Helper()
	status, doc := w.curl(t, "POST", path, body)
	guid := guidIn(doc)
	if status != 201 || guid == "" {
		t.Fatalf("POST %s: %d %s", path, status, doc)
	}
	return guid
}

// memory is the most that the worker had, in bytes, since this was asked last.
func (w *abused) memory(t *testing.T) int64 {
	t.Helper()
	at := fmt.Sprintf("/proc/%d/", w.Worker(t))
	var kb int64
	out := w.Run(t, "sh", "-c", "grep VmHWM "+at+"status; echo 5 >"+at+"clear_refs")
	if _, err := fmt.Sscanf(out, "VmHWM: %d kB", &kb); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return kb << 10
}

// used is what the data folder takes on disk, in bytes.
func (w *abused) used(t *testing.T) int64 {
	t.Helper()
	var kb int64
	if _, err := fmt.Sscan(w.Run(t, "sh", "-c", "du -skx "+w.Data), &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
