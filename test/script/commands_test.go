package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/kit/need"
)

// unscripted says, by reason, which commands and categories of `cf help -a` no script runs with success.
var unscripted = map[string]string{
	"absent": "ssh, ssh-code, NETWORK POLICIES, SECURITY GROUP",
	"brokers and managed services are absent": "create-service, update-service, upgrade-service, create-service-key, service-keys, service-key, " +
		"delete-service-key, bind-route-service, unbind-route-service, share-service, unshare-service, create-service-broker, update-service-broker, " +
		"delete-service-broker, rename-service-broker, purge-service-offering, service-access, enable-service-access, disable-service-access",
	"the client's own: no request comes to Ingot": "ADD/REMOVE PLUGIN, ADD/REMOVE PLUGIN REPOSITORY",
}

var (
	heading = regexp.MustCompile(`^([A-Z][A-Z/ ]+):$`)
	listed  = regexp.MustCompile(`^   ([a-z][a-z0-9-]*) +[A-Z]`)
	alias   = regexp.MustCompile(`(?m)^ALIAS:\n +(.+)$`)
	called  = regexp.MustCompile(`\bcf ([a-z][a-z0-9-]*)`)
)

// TestCommands looks for a command of the official cf that no script runs, and for an exception that has become untrue.
func TestCommands(t *testing.T) {
	need.World(t, "asks cf for its commands")
	scripts, excused := scripted(t), map[string]string{}
	for reason, names := range unscripted {
		for name := range strings.SplitSeq(names, ", ") {
			excused[name] = reason
		}
	}
	count, category := 0, ""
	for line := range strings.Lines(cfHelp(t, "-a")) {
		if m := heading.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			category = m[1]
		}
		m := listed.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		count++
		where, reason := scripts[m[1]], excused[m[1]]+excused[category]
		if where == "" && reason == "" {
			if a := alias.FindStringSubmatch(cfHelp(t, m[1])); a != nil {
				where = scripts[a[1]]
			}
		}
		switch {
		case where == "" && reason == "":
			t.Errorf("%s: no script runs cf %s", category, m[1])
		case where != "" && excused[m[1]] != "":
			t.Errorf("cf %s is run by %s, in spite of: %s", m[1], where, reason)
		default:
			t.Logf("%s | cf %s | %s%s", category, m[1], where, reason)
		}
	}
	if count < 190 {
		t.Errorf("cf help -a lists %d commands", count)
	}
}

// scripted gives, for each word that stands after cf in a line of a script that must succeed, the scripts' names.
func scripted(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar") + " "
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "! exec") || strings.HasPrefix(line, "std") {
				continue
			}
			for _, m := range called.FindAllStringSubmatch(line, -1) {
				if !strings.HasSuffix(found[m[1]], name) {
					found[m[1]] += name
				}
			}
		}
	}
	return found
}

// cfHelp is what `cf help` says of a command, or with -a of all.
func cfHelp(t *testing.T, topic string) string {
	t.Helper()
	c := exec.Command("../../bin/cf", "help", topic)
	c.Env = append(os.Environ(), "CF_HOME="+t.TempDir(), "CF_COLOR=false")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("cf help %s: %v", topic, err)
	}
	return string(out)
}
