package match

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"ingot/cf"
)

// The texts of zip and manifest are Cloud Controller's (StackNameExtractor).
func TestBuildpack(t *testing.T) {
	compile := entry{"bin/compile", 0o777, "#!/bin/sh\n"}
	manifest := func(text string) entry { return entry{"manifest.yml", 0o644, text} }
	says := func(size ...byte) []byte { // says in its directory that it unpacks to that
		z := makeZip(t, entry{"bin/compile", 0o777, strings.Repeat("x", 5000)})
		copy(z[bytes.LastIndex(z, []byte("PK\x01\x02"))+24:], size)
		return z
	}
	for name, c := range map[string]struct {
		zip         []byte
		stack, want string
	}{
		"plain":         {makeZip(t, compile), "", ""},
		"with a stack":  {makeZip(t, compile, manifest("language: x\nstack: cflinuxfs4\n")), "cflinuxfs4", ""},
		"a stack below": {makeZip(t, compile, entry{"x/manifest.yml", 0o644, "stack: y"}), "", ""},
		"inner link":    {makeZip(t, compile, link("bin/supply", "compile")), "", ""},
		"no yaml":       {makeZip(t, manifest(": - {")), "", "Buildpack zip error: buildpack manifest is not valid"},
		"big manifest":  {makeZip(t, manifest(strings.Repeat("#", 1<<20+1))), "", "Buildpack zip error: buildpack manifest is too large"},
		"no zip":        {[]byte("PK\x03\x04 cut"), "", "Buildpack zip error: Invalid zip archive."},
		"out":           {makeZip(t, entry{"../../x", 0o644, ""}), "", "Buildpack zip error: Relative path(s) outside of root folder"},
		"link out":      {makeZip(t, link("bin/x", "../../etc/passwd")), "", "Buildpack zip error: Symlink(s) point outside of root folder"},
		"device":        {makeZip(t, entry{"sda", fs.ModeDevice | 0o600, ""}), "", "Buildpack zip error: 'sda' is neither a file nor a folder nor a symlink"},
		"many":          {makeZip(t, make200k()...), "", "Buildpack zip error: Package may not have more than 200000 entries"},
		"a bomb":        {says(0, 0, 0, 0xc0), "", "Buildpack zip error: buildpack may not unpack to more than 2147483648 bytes"},
		"a secret bomb": {says(1, 0, 0, 0), "", "Buildpack zip error: buildpack zipfile is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			stack, err := Buildpack(bytes.NewReader(c.zip), int64(len(c.zip)))
			if c.want == "" {
				if err != nil || stack != c.stack {
					t.Errorf("%q, %v", stack, err)
				}
				return
			}
			var e *cf.Error
			if !errors.As(err, &e) || e.Kind != cf.KindUnprocessable || e.Code != "BuildpackZipError" || e.Public != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func make200k() []entry {
	all := make([]entry, mostEntries+1)
	for i := range all {
		all[i].name = strings.Repeat("a", 1+i/1000) + "/" + string(rune('a'+i%1000/26/26)) + string(rune('a'+i%1000/26%26)) + string(rune('a'+i%26))
	}
	return all
}
