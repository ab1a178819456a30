package main

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ingot/diego/lifecycle/builder"
)

func TestBuildTakesItsFlags(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	at := func(n string) string { return filepath.Join(dir, n) }
	f, err := os.Create(at("package.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(zip.NewWriter(f).Close(), f.Close(), os.MkdirAll(at("packs/0/bin"), 0o755), os.MkdirAll(at("packs/1/bin"), 0o755)); err != nil {
		t.Fatal(err)
	}
	args := []string{"-package=" + at("package.zip"), "-buildDir=" + at("app"), "-buildpacksDir=" + at("packs"), "-buildArtifactsCacheDir=" + at("cache"), "-buildArtifactsCache=" + at("none"),
		"-outputDroplet=" + at("droplet"), "-outputMetadata=" + at("result"), "-outputBuildArtifactsCache=" + at("new"), "-contentsDir=" + at("contents"), "-buildpack=a,b", "-buildpack=c", "-skipDetect=true"}
	err = build(t.Context(), args)
	var failure *builder.Failure
	if !errors.As(err, &failure) || failure.Code != builder.CodeSupply {
		t.Errorf("two buildpacks, the first cannot supply: %v", err)
	}
	if err := build(t.Context(), []string{"-nonsense"}); err == nil {
		t.Error("an unknown flag was taken")
	}
}
