package buildpacks

import (
	"archive/tar"
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stager"
)

func lookGo() error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("go is missing on this machine: apt-get install golang-go")
	}
	return nil
}

// repackModule fetches a Go module by the machine's go, so that its proxy, its credentials and the checksum database
// hold, and writes its files into the archive.
func repackModule(ctx context.Context, out *tar.Writer, folder string, s stager.Source) error {
	if err := lookGo(); err != nil {
		return err
	}
	mods := filepath.Join(folder, "modules")
	defer func() { _ = os.RemoveAll(mods) }()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", s.Module)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOMODCACHE="+mods, "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local", "GOWORK=off")
	text, err := cmd.Output() // its errors are in the document, too
	var got struct{ Zip, Sum, Error string }
	if json.Unmarshal(text, &got) == nil && got.Error != "" {
		err = errors.New(got.Error)
	}
	if err != nil {
		return fmt.Errorf("go mod download %s: %w", s.Module, err)
	}
	if got.Sum != s.Integrity {
		return fmt.Errorf("%s has the sum %s, not %s", s.Module, got.Sum, s.Integrity)
	}
	z, err := zip.OpenReader(got.Zip)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Module, err)
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		if err := copyModuleFile(out, placeGo(strings.TrimPrefix(f.Name, s.Module+"/")), f); err != nil {
			return fmt.Errorf("%s: %s: %w", s.Module, f.Name, err)
		}
	}
	return nil
}

// placeGo is where a file of Go's distribution goes; "" leaves it out: tests, and the sources of Go's own commands, which
// are there as programs.
func placeGo(name string) string {
	switch {
	case !fs.ValidPath(name), strings.HasSuffix(name, "_test.go"), strings.Contains(name, "/testdata/"),
		strings.HasPrefix(name, "src/cmd/"), strings.HasPrefix(name, "lib/wasm/"), strings.HasPrefix(name, "lib/hg/"):
		return ""
	}
	return name
}

// copyModuleFile copies one file. Archives of modules carry no modes: the programs are known by their folders.
func copyModuleFile(out *tar.Writer, name string, f *zip.File) error {
	if name == "" {
		return nil
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	h := &tar.Header{Mode: 0o644, Size: int64(f.UncompressedSize64)}
	if dir := path.Dir(name); dir == "bin" || strings.HasPrefix(dir, "pkg/tool/") {
		h.Mode = 0o755
	}
	return copyEntry(out, name, h, r)
}
