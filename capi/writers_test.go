package capi_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"ingot/cf"
	"ingot/rest/access"
	"ingot/rest/resttest"
	"ingot/rest/row"
)

// rival is a request that several writers send at once, in a world {x} of its own (see full). {n} is the writer's number.
type rival struct {
	line, body string
	// good are the statuses with which it may be done, once for all writers together if once is set. Of those that are not
	// done the answer is one of the others.
	good   []int
	once   bool
	others []string
	// first is done before.
	first string
	// beside are the deletions that run against it, and gone what it may answer besides while they do.
	beside, gone []string
	// after looks at what n writers without a deletion left.
	after func(w *world, x string, n int) string
}

// The deletions of the world {x}, each with all that hangs on it.
const (
	noOrg, noSpace, noApp, noRoute, noDomain = "organizations/{x}", "spaces/{x}-space", "apps/{x}", "routes/{x}", "domains/{x}"
	noUser, noQuota, noInstance, noBinding   = "users/{x}-guid", "space_quotas/{x}-free", "service_instances/{x}", "service_credential_bindings/{x}"
)

// vanished are CF's answers to a request of which something is gone, or on its way.
var vanished = regexp.MustCompile(`^(422 )?(404 )?(For \w+ '[\w.-]+': )*(` + strings.Join([]string{
	`(Organization|Space|Role|User|Space quota|Domain|Route|App|Process|Service instance|Service credential binding|Service instance '\w+') not found`,
	`The (organization|space) is being deleted`, `Organization '\w+' is being deleted and cannot be updated\.`,
	`Invalid (organization|space|domain)\. Ensure (that )?the (organization|space|domain) exists and you have access to it\.`,
	`Users cannot be assigned roles in a space if they do not have a role in that space's organization\.`,
	`Organization with guid '[\w-]+' does not exist,? or you do not have access to it\.`,
	`Spaces with guids \["[\w-]+"\] do not exist( within the organization specified)?, or you do not have access to them\.`,
	`The (app|service instance) could not be found: '\w+'`, `App\(s\) with guid\(s\) "\w+" do not exist\.`,
	`Unable to share route [\w.]+ with spaces \['[\w-]+'\]\. Ensure the spaces exist and that you have access to them\.`,
	`Unable to share route [\w.]+ with spaces \['[\w-]+'\]\. Write permission is required .*`,
	`Unable to (unshare|transfer owner of) route '[\w.]+' (from|to) space '[\w-]+'\. (Ensure the space exists and that you have access to it|The target space is being deleted)\.`,
	`No domains exist for route [\w.]+`, `Unable to unmap route from destination\. Ensure the route has a destination with this guid\.`,
	`Unable to assign current droplet\. Ensure the droplet exists and belongs to this app\.`,
}, "|") + `)$`)

// full makes a world {x}: an organization with a space, a quota that the space has and one that is free, a user with roles, and one
// object of each kind of a push and of services. "{x}-second" is another organization with a space.
func full(w *world, x string) {
	w.T.Helper()
	w.World(x)
	w.World(x + "-second")
	freshService(w.API, x, x)
	freshSpaceQuota(w.API, x, x+"-free")
	for _, r := range []access.Role{access.OrgUser, access.OrgManager, access.SpaceDeveloper} {
		w.Role(x, r, x)
	}
	w.Insert(&access.RoleRow{Row: base(x + "-role"), Type: access.OrgAuditor, UserGUID: x + "-guid", OrgGUID: x},
		&access.User{Labelled: row.Labelled{Row: base(x + "-ann")}},
		&access.RoleRow{Row: base(x + "-anns"), Type: access.OrgUser, UserGUID: x + "-ann", OrgGUID: x})
}

// send sends the request of writer n.
func (r rival) send(w *world, x string, n int) resttest.Answer {
	fill := strings.NewReplacer("{x}", x, "{n}", fmt.Sprint(n)).Replace
	return w.ask("admin", fill(r.line), fill(r.body))
}

// prepare sends what comes before all writers.
func (r rival) prepare(w *world, x string) {
	w.T.Helper()
	if line, body, _ := strings.Cut(strings.ReplaceAll(r.first, "{x}", x), " {"); line != "" {
		w.Must(200, "admin", line, "{"+body)
	}
}

// told is an answer as the tables write it.
func told(a resttest.Answer) string { return strings.TrimSpace(fmt.Sprint(a.Status, " ", a.Detail())) }

// run lets n writers and perhaps a deletion go at once, and gives the answers of the writers.
func (r rival) run(w *world, x string, n int, deletion string) []resttest.Answer {
	w.T.Helper()
	out := make([]resttest.Answer, n)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			out[i] = r.send(w, x, i)
		})
	}
	var deleted resttest.Answer
	if deletion != "" {
		wg.Go(func() {
			<-begin
			deleted = w.Do("admin", "DELETE /v3/"+strings.ReplaceAll(deletion, "{x}", x), nil)
		})
	}
	close(begin)
	wg.Wait()
	for _, a := range append(out, deleted) {
		if a.Status == http.StatusAccepted && a.Header.Get("Location") != "" {
			if j := w.Job(a); j.JSON["state"] != "COMPLETE" && !r.allows(j, x) {
				w.T.Errorf("%s beside DELETE %s: %s", r.line, deletion, j.Text)
			}
		}
	}
	if deletion != "" && deleted.Status >= 300 && !r.allows(deleted, x) {
		w.T.Errorf("DELETE %s beside %s: %s", deletion, r.line, told(deleted))
	}
	return out
}

// allows tells whether an answer that does nothing is one that the rival may get while something is deleted.
func (r rival) allows(a resttest.Answer, x string) bool {
	return a.JSON["state"] == "FAILED" && vanished.MatchString(a.Detail()) || a.Status < 500 && vanished.MatchString(told(a)) ||
		slices.ContainsFunc(slices.Concat(r.others, r.gone), func(s string) bool {
			s = strings.ReplaceAll(s, "{x}", x)
			return s == told(a) || a.JSON["state"] == "FAILED" && a.Detail() == s[4:]
		})
}

// TestWriters: for each request of the ten nouns that changes something, two and eight writers on one object, and writers beside
// each deletion of what the object hangs on. Each answer is one that CF gives, and no row is left that names what is gone.
func TestWriters(t *testing.T) {
	w := pushWorld(t)
	freshQuota(w.API, "", "quota") // that of the worlds
	w.api.Limits.User = -1
	w.SetFlag("route_sharing", true)
	w.Users.Known = []cf.User{{ID: "someone", Name: "someone", Origin: "uaa"}}
	x := 0
	for _, r := range rivals {
		for _, n := range []int{2, 8} {
			x++
			world := fmt.Sprint("w", x)
			full(w, world)
			r.prepare(w, world)
			done := 0
			for _, a := range r.run(w, world, n, "") {
				if slices.Contains(r.good, a.Status) {
					done++
				} else if !slices.ContainsFunc(r.others, func(s string) bool { return strings.ReplaceAll(s, "{x}", world) == told(a) }) {
					t.Errorf("%s by %d: %s", r.line, n, told(a))
				}
			}
			if r.once && done != 1 || !r.once && done == 0 || !r.once && r.others == nil && done != n {
				t.Errorf("%s by %d: %d were done", r.line, n, done)
			}
			if r.after != nil {
				if fault := r.after(w, world, n); fault != "" {
					t.Errorf("%s by %d: %s", r.line, n, fault)
				}
			}
		}
		for _, deletion := range r.beside {
			x++
			world := fmt.Sprint("w", x)
			full(w, world)
			r.prepare(w, world)
			for _, a := range r.run(w, world, 4, deletion) {
				if !slices.Contains(r.good, a.Status) && !r.allows(a, world) {
					t.Errorf("%s beside DELETE %s: %s", r.line, deletion, told(a))
				}
			}
		}
		if left := w.orphans(); len(left) > 0 {
			t.Fatalf("after %s: %s", r.line, strings.Join(left, "\n"))
		}
	}
	t.Logf("%d worlds", x)
}

// TestWritersAll: each served request of the ten nouns that changes something is one of the rivals.
func TestWritersAll(t *testing.T) {
	name := regexp.MustCompile(`\{x\}[\w-]*`)
	for _, e := range newWorld(t).api.Endpoints() {
		if e.Method == "GET" || !ten.MatchString(e.Path) || notTen.MatchString(e.Path) {
			continue
		}
		there := slices.ContainsFunc(rivals, func(r rival) bool {
			method, path, _ := strings.Cut(name.ReplaceAllString(r.line, "x"), " ")
			path, _, _ = strings.Cut(path, "?")
			return method == e.Method && same(argument.ReplaceAllString(e.Path, ":x"), path)
		})
		if line := e.Method + " " + argument.ReplaceAllString(e.Path, ":x"); there == (rivalless[line] != "") {
			t.Errorf("%s: writers on it %v, and the reason why not is %q", line, there, rivalless[line])
		}
	}
}
