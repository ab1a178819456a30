package admin

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"ingot/cf"
)

// Fit says what is wrong with buildpacks and a stack, in CF's words, or "".
func Fit(ctx context.Context, db bun.IDB, buildpacks []string, stack string) (string, error) {
	known, err := db.NewSelect().Model((*Stack)(nil)).Where("name = ?", stack).Exists(ctx)
	if err != nil {
		return "", err
	}
	usable, err := Usable(ctx, db, stack)
	if err != nil {
		return "", err
	}
	for _, name := range buildpacks {
		switch {
		case Custom(name) || Pick(usable, name) != nil:
		case known:
			return fmt.Sprintf(`Buildpack "%s" for stack "%s" must be an existing admin buildpack or a valid git URI`, name, stack), nil
		default:
			return fmt.Sprintf(`Buildpack "%s" must be an existing admin buildpack or a valid git URI`, name), nil
		}
	}
	if !known {
		return "Stack must be an existing stack", nil
	}
	return "", nil
}

// Pick finds a buildpack by its name: one of the stack before one of any.
func Pick(usable []Buildpack, name string) *Buildpack {
	var found *Buildpack
	for i := range usable {
		if b := &usable[i]; b.Name == name && (found == nil || found.Stack == "" && b.Stack != "") {
			found = b
		}
	}
	return found
}

// Custom tells the address of a buildpack from a name: a zip on a web server, or what Git clones.
func Custom(name string) bool {
	u, err := url.Parse(name)
	return err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "git", "ssh"}, u.Scheme) || gitAddress.MatchString(name)
}

var gitAddress = regexp.MustCompile(`^git@[^:\s]+:\S+\.git$`)

// Refs are the buildpacks of a build on the stack: those that it names, or all that are enabled, for detection.
func Refs(ctx context.Context, db bun.IDB, names []string, stack string) ([]cf.BuildpackRef, error) {
	usable, err := Usable(ctx, db, stack)
	if err != nil {
		return nil, err
	}
	var out []cf.BuildpackRef
	if len(names) == 0 {
		for i := range usable {
			if usable[i].Enabled {
				out = append(out, usable[i].Ref())
			}
		}
		if len(usable) == 0 {
			err = &cf.Error{Kind: cf.KindInvalid, Code: "NoBuildpacksFound"}
		}
		return out, err
	}
	var refused []string
	for _, name := range names {
		ref := cf.BuildpackRef{Name: name}
		if !Custom(name) {
			p := Pick(usable, name)
			if p == nil || !p.Enabled {
				refused = append(refused, "'"+name+"'")
				continue
			}
			ref = p.Ref()
		}
		ref.SkipDetect = true
		out = append(out, ref)
	}
	if refused != nil {
		return nil, cf.Errorf(cf.KindInvalid, "BuildpackInvalid", "Requested buildpack(s) %s are disabled and cannot be used for staging", strings.Join(refused, ", "))
	}
	return out, nil
}
