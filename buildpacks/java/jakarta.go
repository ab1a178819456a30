package java

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ingot/buildpacks/stager"
)

// migrate makes an application for Tomcat 9 and older one for Tomcat 10: what it says of javax.servlet and its kin it says of
// jakarta.servlet then. Apache's own tool does it, in the app, once, while staging. app is the web archive or its folder.
func migrate(s *stager.Stager, app string, asked bool) error {
	old, err := legacy(app)
	if err != nil || !old && !asked {
		return err
	}
	if err := install(s, "jakartaee-migration", "", "migration"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(s.Dep("migration")) }()
	s.Step("Converting the application from javax.servlet to jakarta.servlet, which Tomcat 10 knows")
	return s.Run(s.Build, s.Dep("jre", "bin", "java"), "-jar", s.Dep("migration", "migration.jar"), "-logLevel=WARNING", app, app)
}

// older are the versions of Tomcat that an app may ask for, and gets Tomcat 10 after a migration.
func older(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	return major == "8" || major == "9"
}

// uses are the names that a search found.
type uses struct{ javax, jakarta bool }

func (u *uses) note(class []byte) {
	u.javax = u.javax || bytes.Contains(class, []byte("javax/servlet/"))
	u.jakarta = u.jakarta || bytes.Contains(class, []byte("jakarta/servlet/"))
}

// archive looks into an archive, and into those in it.
func (u *uses) archive(z *zip.Reader, deep bool) error {
	for _, f := range z.File {
		ext := filepath.Ext(f.Name)
		if ext != ".class" && (ext != ".jar" || !deep) || f.UncompressedSize64 > 256<<20 {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(r, 256<<20))
		_ = r.Close()
		if err != nil {
			return err
		}
		if ext == ".class" {
			u.note(text)
			continue
		}
		if in, err := zip.NewReader(bytes.NewReader(text), int64(len(text))); err == nil { // else nothing of it will be loaded
			if err := u.archive(in, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// legacy tells whether a web archive or its folder uses javax.servlet and nowhere jakarta.servlet: libraries may know both.
func legacy(app string) (bool, error) {
	var u uses
	err := filepath.WalkDir(app, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		switch filepath.Ext(path) {
		case ".class":
			text, err := os.ReadFile(path)
			u.note(text)
			return err
		case ".jar", ".war":
			z, err := zip.OpenReader(path)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			err = u.archive(&z.Reader, true)
			_ = z.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(path), err)
			}
		}
		return nil
	})
	return u.javax && !u.jakarta, err
}
