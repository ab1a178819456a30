package buildpacks

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ingot/buildpacks/once"
	"ingot/buildpacks/stack"
	"ingot/kit/need"
)

// What apps, buildpacks and CF's acceptance tests count on (reference: cf-acceptance-tests, and cflinuxfs4's package list).
func TestStackHasWhatAppsCountOn(t *testing.T) {
	need.World(t, "the stack")
	path, digest, err := stack.Build(t.Context(), need.Cache(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(digest) != 64 {
		t.Errorf("digest %q", digest)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	have, small := map[string]*tar.Header{}, map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(filepath.Clean(h.Name), "/")
		have[name] = h
		if name == "etc/passwd" || name == "etc/lsb-release" || name == "etc/locale.gen" {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			small[name] = string(text)
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeReg && h.Mode&0o6000 != 0 {
			t.Errorf("%s: kind %c, mode %o", h.Name, h.Typeflag, h.Mode)
		}
	}
	for _, name := range strings.Fields(`usr/bin/bash usr/bin/env usr/bin/apt usr/bin/curl usr/bin/nc usr/bin/jq usr/bin/sed usr/bin/python
		usr/bin/python3 usr/bin/ruby usr/bin/bundle usr/bin/git usr/bin/gcc usr/bin/make usr/bin/unzip usr/sbin/ip usr/sbin/nginx
		etc/resolv.conf etc/hosts etc/ssl/certs/ca-certificates.crt usr/lib/locale/locale-archive`) {
		if have[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if home := have["home/vcap"]; home == nil || home.Uid != 2000 || home.Gid != 2000 {
		t.Errorf("home/vcap: %+v", home)
	}
	if tmp := have["tmp"]; tmp == nil || tmp.Mode != 0o1777 {
		t.Errorf("tmp: %+v", tmp)
	}
	for name, want := range map[string]string{"etc/passwd": "vcap:x:2000:2000::/home/vcap:/bin/bash\n",
		"etc/lsb-release": "DISTRIB_CODENAME=jammy\n", "etc/locale.gen": "en_US.UTF-8 UTF-8\n"} {
		if !strings.Contains(small[name], want) {
			t.Errorf("%s is %q, without %q", name, small[name], want)
		}
	}
}

// world is a root made of the stack, with an example app and a buildpack in it: an overlay of the unpacked stack,
// which is kept, and of the folder upper, which is not.
type world struct {
	t          *testing.T
	stack, dir string
}

func (w world) upper(name string) string { return filepath.Join(w.dir, "upper", name) }

func newWorld(t *testing.T, buildpack, example string) world {
	t.Helper()
	need.World(t, "the stack, the buildpacks' program, a package registry")
	tarball, digest, err := stack.Build(t.Context(), need.Cache(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(All(), func(b Buildpack) bool { return b.Name == buildpack })
	pack, _, err := All()[i].Zip(t.Context(), need.Cache(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	w := world{t: t, dir: t.TempDir()}
	w.stack, err = once.Dir(t.Context(), filepath.Join(need.Cache(), "test"), "stack-"+digest[:16], t.Output(), func(folder string) error {
		return exec.Command("tar", "xpf", tarball, "-C", folder).Run()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc", "dev", "buildpack", "home/vcap/app", "../work", "../root"} {
		if err := os.MkdirAll(w.upper(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.host("cp", "/etc/resolv.conf", "/etc/hosts", w.upper("etc"))
	w.host("mknod", "-m", "666", w.upper("dev/null"), "c", "1", "3")
	w.host("mknod", "-m", "666", w.upper("dev/urandom"), "c", "1", "9")
	unzip(t, pack, w.upper("buildpack"))
	w.host("cp", "-r", filepath.Join("../examples", example)+"/.", w.upper("home/vcap/app"))
	w.host("chown", "-R", "2000:2000", w.upper("home/vcap"))
	return w
}

func (w world) host(args ...string) {
	w.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v\n%s", args, err, out)
	}
}

func unzip(t *testing.T, path, dir string) {
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := os.CopyFS(dir, &r.Reader); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File { // CopyFS takes modes only in part
		if err := os.Chmod(filepath.Join(dir, f.Name), f.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a script in the root with processes, mounts and (flag "--net") a network of its own; as vcap but for that.
// All of it ends with the script, and with this test.
func (w world) run(script string, flags ...string) (string, error) {
	w.t.Helper()
	who := "vcap:vcap"
	if len(flags) > 0 {
		who = "root:root"
	}
	enter := `cd "$1" && mount -t overlay -o "lowerdir=$2,upperdir=upper,workdir=work" overlay root && mount -t proc proc root/proc &&
exec chroot --userspec="$3" root /bin/bash -ec "$4"`
	args := append([]string{"--mount", "--pid", "--fork", "--kill-child"}, flags...)
	args = append(args, "sh", "-c", enter, "sh", w.dir, w.stack, who, script)
	cmd := exec.CommandContext(w.t.Context(), "unshare", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(cmd.Environ(), "HOME=/home/vcap", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=en_US.UTF-8",
		"CF_STACK="+stack.Name, "NODE_EXTRA_CA_CERTS=", "npm_config_registry="+registry(w.t.Context()))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	err := cmd.Run()
	w.t.Logf("%s(%v)", out.String(), time.Since(begin).Round(time.Millisecond))
	return out.String(), err
}

// registry is the one that this machine's npm uses; npm's own default when it says nothing.
func registry(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, "npm", "config", "get", "registry").Output()
	return strings.TrimSpace(string(out))
}

const stageScript = `cd /home/vcap
rm -rf deps profile.d staged; mkdir -p deps/0 profile.d cache; cp -r app staged
/buildpack/bin/detect staged
/buildpack/bin/supply /home/vcap/staged /home/vcap/cache /home/vcap/deps 0
/buildpack/bin/finalize /home/vcap/staged /home/vcap/cache /home/vcap/deps 0 /home/vcap/profile.d
/buildpack/bin/release staged`

func TestNodeInTheStack(t *testing.T) {
	w := newWorld(t, "nodejs_buildpack", "node-express")
	t.Run("Express is staged and starts", func(t *testing.T) { w.t = t; w.express() })
	t.Run("a native module is built", func(t *testing.T) { w.t = t; w.native() })
	t.Run("a staging that cannot succeed says why", func(t *testing.T) { w.t = t; w.failures() })
}

func (w world) express() {
	t := w.t
	out, err := w.run(stageScript)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"node.js 1.0.0\n", "-----> Installing node 22.", "Installing node modules (package.json + package-lock.json)", "web: npm start"} {
		if !strings.Contains(out, want) {
			t.Errorf("staging did not print %q", want)
		}
	}
	if out, err = w.run(stageScript); err != nil || !strings.Contains(out, "Restoring node modules from the cache") {
		t.Errorf("second staging: %v", err)
	}

	// As the launcher does: profile scripts, then the start command, in the app's folder.
	start := `ip link set lo up
cat >/tmp/start <<'END'
export HOME=/home/vcap/staged DEPS_DIR=/home/vcap/deps PORT=8080 CF_INSTANCE_INDEX=7 VCAP_APPLICATION='{"limits":{"mem":128}}'
cd "$HOME"
for f in /home/vcap/profile.d/*.sh; do . "$f"; done
npm start &
curl -s --retry 100 --retry-delay 1 --retry-connrefused --retry-max-time 20 http://127.0.0.1:8080/
curl -s http://127.0.0.1:8080/env
echo "memory=$MEMORY_AVAILABLE node=$NODE_HOME"
END
exec chroot --userspec=vcap:vcap / /bin/bash -e /tmp/start`
	out, err = w.run(start, "--net")
	for _, want := range []string{"Hello from Express, instance 7\n", `"NODE_ENV":"production"`, "memory=128 node=/home/vcap/deps/0/node"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("the app did not say %q: %v", want, err)
		}
	}
}

// replace gives the app another package.json, without a lock.
func (w world) replace(text string) {
	w.t.Helper()
	if err := os.Remove(w.upper("home/vcap/app/package-lock.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.upper("home/vcap/app/package.json"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// native needs the stack's compiler and Python, and Node's headers, which the buildpack carries.
func (w world) native() {
	app := w.upper("home/vcap/app/native")
	for name, text := range map[string]string{
		"package.json": `{"name": "native", "version": "1.0.0", "gypfile": true}`,
		"binding.gyp":  `{"targets": [{"target_name": "native", "sources": ["native.c"]}]}`,
		"native.c": `#include <node_api.h>
static napi_value init(napi_env env, napi_value exports) {
	napi_value v;
	napi_create_int32(env, 42, &v);
	return v;
}
NAPI_MODULE(native, init)
`,
	} {
		if err := os.MkdirAll(app, 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(app, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.replace(`{"engines": {"node": "22.x"}, "dependencies": {"native": "file:./native"}}`)
	out, err := w.run(stageScript + `
deps/0/bin/node -p '"answer " + require("/home/vcap/staged/node_modules/native/build/Release/native.node")'`)
	if err != nil || !strings.Contains(out, "answer 42\n") {
		w.t.Errorf("no native module: %v", err)
	}
}

func (w world) failures() {
	t := w.t
	for name, c := range map[string]struct{ pkg, want string }{
		"no such Node":    {`{"engines": {"node": "12.x"}}`, "Unable to install node: no match found for 12.x in [22.23.3 24.21.0]"},
		"no such package": {`{"dependencies": {"express": "0.0.0-none"}}`, "Unable to build dependencies: exit status 1"},
	} {
		w.replace(c.pkg)
		out, err := w.run(stageScript)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 14 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, want exit 14 and %q", name, err, c.want)
		}
	}
}
