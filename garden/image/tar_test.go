package image

import (
	"archive/tar"
	"bytes"
	"path"
	"strings"
	"testing"

	"ingot/cf"
)

func TestPlace(t *testing.T) {
	for name, c := range map[string]struct {
		in   []tar.Header
		want string // name of the last entry; "" = left out
	}{
		"file":               {[]tar.Header{{Name: "app/x", Typeflag: tar.TypeReg}}, "home/vcap/app/x"},
		"folder":             {[]tar.Header{{Name: "app", Typeflag: tar.TypeDir}}, "home/vcap/app"},
		"root":               {[]tar.Header{{Name: ".", Typeflag: tar.TypeDir}}, ""},
		"global header":      {[]tar.Header{{Name: "pax", Typeflag: tar.TypeXGlobalHeader}}, ""},
		"whiteout as a file": {[]tar.Header{{Name: "app/.wh.x", Typeflag: tar.TypeReg}}, "home/vcap/app/.wh.x"},
		"link inside":        {[]tar.Header{{Name: "app/x", Typeflag: tar.TypeSymlink, Linkname: "../deps/y"}}, "home/vcap/app/x"},
		"absolute link":      {[]tar.Header{{Name: "app/x", Typeflag: tar.TypeSymlink, Linkname: "/usr/bin/node"}}, "home/vcap/app/x"},
		"hard link":          {[]tar.Header{{Name: "app/x", Typeflag: tar.TypeLink, Linkname: "./app/y"}}, "home/vcap/app/x"},
		"file instead of link": {[]tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "a", Typeflag: tar.TypeDir},
			{Name: "a/x", Typeflag: tar.TypeReg}}, "home/vcap/a/x"},
	} {
		p := &placer{prefix: "home/vcap", links: map[string]bool{}}
		for i := range c.in {
			h := &c.in[i]
			h.Uid, h.Gid, h.Mode, h.PAXRecords = 0, 0, 0o6755, map[string]string{"SCHILY.xattr.security.capability": "x"}
			yes, err := p.place(h)
			if err != nil {
				t.Fatal(name, err)
			}
			if i < len(c.in)-1 {
				continue
			}
			if yes != (c.want != "") || yes && (h.Name != c.want || h.Uid != VCAP || h.Gid != VCAP || h.Mode != 0o755 || len(h.PAXRecords) != 0) {
				t.Errorf("%s: %v %+v", name, yes, h)
			}
			if h.Typeflag == tar.TypeLink && h.Linkname != "home/vcap/app/y" {
				t.Error(name, h.Linkname)
			}
		}
	}
}

func TestPlaceRefuses(t *testing.T) {
	for name, in := range map[string][]tar.Header{
		"parent":             {{Name: "../x", Typeflag: tar.TypeReg}},
		"the parent itself":  {{Name: "..", Typeflag: tar.TypeDir}},
		"absolute":           {{Name: "/etc/passwd", Typeflag: tar.TypeReg}},
		"block device":       {{Name: "sda", Typeflag: tar.TypeBlock}},
		"character device":   {{Name: "null", Typeflag: tar.TypeChar}},
		"pipe":               {{Name: "pipe", Typeflag: tar.TypeFifo}},
		"link out":           {{Name: "app/x", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"}},
		"hard link out":      {{Name: "app/x", Typeflag: tar.TypeLink, Linkname: "../etc/passwd"}},
		"hard link absolute": {{Name: "app/x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"behind a link":      {{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "a/passwd", Typeflag: tar.TypeReg}},
		"deep behind a link": {{Name: "a/b", Typeflag: tar.TypeSymlink, Linkname: "/"}, {Name: "a/b/c/d", Typeflag: tar.TypeReg}},
		"hard link by link":  {{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "x", Typeflag: tar.TypeLink, Linkname: "a/passwd"}},
	} {
		p := &placer{prefix: "home/vcap", links: map[string]bool{}}
		var err error
		for i := range in {
			_, err = p.place(&in[i])
		}
		if !cf.IsKind(err, cf.KindUnprocessable) {
			t.Error(name, err)
		}
	}
	p := &placer{prefix: "home/vcap", links: map[string]bool{}, entries: maxEntries}
	if _, err := p.place(&tar.Header{Name: "x", Typeflag: tar.TypeReg}); !cf.IsKind(err, cf.KindTooLarge) {
		t.Error("too many:", err)
	}
}

func TestStackLeavesDevicesOut(t *testing.T) {
	for typ, want := range map[byte]bool{tar.TypeReg: true, tar.TypeDir: true, tar.TypeSymlink: true, tar.TypeChar: false, tar.TypeBlock: false} {
		if got, err := stack(&tar.Header{Name: "dev/x", Typeflag: typ}); err != nil || got != want {
			t.Errorf("%c: %v %v", typ, got, err)
		}
	}
	if _, err := stack(&tar.Header{Name: "../x", Typeflag: tar.TypeReg}); !cf.IsKind(err, cf.KindUnprocessable) {
		t.Error(err)
	}
}

// FuzzPlace: whatever the archive says, nothing is written outside the prefix, nor through a link, nor for another user.
func FuzzPlace(f *testing.F) {
	for _, hs := range [][]*tar.Header{
		{{Name: "./app/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "app/run", Typeflag: tar.TypeReg, Mode: 0o4755}},
		{{Name: "up", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "up/x", Typeflag: tar.TypeReg}},
		{{Name: "a", Typeflag: tar.TypeReg}, {Name: "b", Typeflag: tar.TypeLink, Linkname: "/../a"}, {Name: "../c", Typeflag: tar.TypeReg}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range hs {
			if err := w.WriteHeader(h); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, links := &placer{prefix: "home/vcap", links: map[string]bool{}}, map[string]bool{}
		for r := tar.NewReader(bytes.NewReader(data)); ; {
			h, err := r.Next()
			if err != nil {
				return
			}
			h.Name = path.Clean(h.Name) // as containerd does
			wanted, err := p.place(h)
			if err != nil {
				return
			}
			if !wanted {
				continue
			}
			names := []string{h.Name}
			if h.Typeflag == tar.TypeLink && h.Linkname != "home/vcap" { // a link to a folder fails by itself
				names = append(names, h.Linkname)
			}
			for _, name := range names {
				if !strings.HasPrefix(name, "home/vcap/") || path.Clean(name) != name {
					t.Fatalf("%q is outside: %+v", name, h)
				}
				for at := path.Dir(name); at != "home/vcap"; at = path.Dir(at) {
					if links[at] {
						t.Fatalf("%q goes through the link %q", name, at)
					}
				}
			}
			links[h.Name] = h.Typeflag == tar.TypeSymlink
			if h.Uid != VCAP || h.Gid != VCAP || h.Mode&^0o1777 != 0 || h.PAXRecords != nil {
				t.Fatalf("taken: %+v", h)
			}
		}
	})
}
