// Package env composes the environment of what runs in app containers, as CF's cells do.
//
// It promises that the instance's own variables win over the app's, and that each variable is there once. It does no I/O.
package env

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ingot/cf"
)

// Places in every app container.
const (
	Home        = "/home/vcap"
	SystemCerts = "/etc/cf-system-certificates"
)

// Base is what every program in a container gets; an app may set these otherwise.
func Base() []string {
	return []string{"LANG=en_US.UTF-8", "USER=vcap", "HOME=" + Home, "PATH=/usr/local/bin:/usr/bin:/bin", "CF_SYSTEM_CERT_PATH=" + SystemCerts}
}

// LRP is the environment of an instance; a has its addresses.
func LRP(d *cf.DesiredLRP, a cf.ActualLRP) []string {
	index, port := strconv.Itoa(a.Index), 0
	if len(d.Ports) > 0 {
		port = d.Ports[0]
	}
	env := append(Base(), d.Env...)
	env = append(env, network(a.Host, a.Address, a.Ports)...)
	env = append(env, "CF_INSTANCE_GUID="+string(a.Instance), "CF_INSTANCE_INDEX="+index, "INSTANCE_GUID="+string(a.Instance), "INSTANCE_INDEX="+index,
		memory(d.Limits))
	more := map[string]any{"instance_id": a.Instance, "instance_index": a.Index, "host": "0.0.0.0"}
	if port > 0 {
		more["port"] = port
		env = append(env, fmt.Sprintf("PORT=%d", port), fmt.Sprintf("VCAP_APP_PORT=%d", port), "VCAP_APP_HOST=0.0.0.0")
	}
	return last(append(env, vcapApplication(d.VCAPApp, more)))
}

// Task is the environment of a task, which offers no ports.
func Task(t *cf.Task, host, address string) []string {
	env := append(Base(), t.Env...)
	env = append(env, network(host, address, nil)...)
	return last(append(env, memory(t.Limits), vcapApplication(t.VCAPApp, nil)))
}

func memory(l cf.Limits) string { return fmt.Sprintf("MEMORY_LIMIT=%dm", l.MemoryMB) }

// network gives the CF_INSTANCE_* of addresses and ports; PORT and ADDR are there and empty where the host offers none.
func network(host, address string, ports []cf.PortMapping) []string {
	type mapping struct {
		External int `json:"external,omitempty"`
		Internal int `json:"internal"`
	}
	list, port, addr := []mapping{}, "", ""
	for i, p := range ports {
		list = append(list, mapping{p.Host, p.Container})
		if i == 0 && p.Host > 0 {
			port = strconv.Itoa(p.Host)
			addr = host + ":" + port
		}
	}
	text, _ := json.Marshal(list) // numbers always marshal
	return []string{"CF_INSTANCE_IP=" + host, "CF_INSTANCE_INTERNAL_IP=" + address, "CF_INSTANCE_PORT=" + port, "CF_INSTANCE_ADDR=" + addr,
		"CF_INSTANCE_PORTS=" + string(text)}
}

// vcapApplication is compact, with characters as they are but for "=": programs that split their environment there are
// common.
func vcapApplication(app, more map[string]any) string {
	all := maps.Clone(app)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, more)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(all); err != nil {
		return "VCAP_APPLICATION={}" // it came out of JSON; it goes into JSON
	}
	return "VCAP_APPLICATION=" + strings.ReplaceAll(strings.TrimSpace(b.String()), "=", `\u003d`)
}

// last keeps the last of the entries that name the same variable, and drops those that name none.
func last(env []string) []string {
	seen := map[string]bool{}
	out := make([]string, 0, len(env))
	for _, e := range slices.Backward(env) {
		name, _, ok := strings.Cut(e, "=")
		if ok && name != "" && !seen[name] && !strings.ContainsRune(e, 0) {
			seen[name] = true
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return out
}
