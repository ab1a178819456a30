package router

import (
	"strconv"
	"strings"
	"time"

	"ingot/routing/router/h1"
	"ingot/routing/table"
)

// requestHead writes the request as the instance gets it: the client's own fields, without those of this connection and
// those that only the router may state, and then the router's.
func (x *exchange) requestHead(b []byte, whole bool) []byte {
	q := &x.req
	b = append(b, q.Method...)
	b = append(b, ' ')
	b = append(b, q.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, q.Host...)
	b = append(b, '\r', '\n')
	forwarded, requestID, requestStart := "", false, false
	for i := range q.Fields {
		f := &q.Fields[i]
		switch f.Kind {
		case h1.Host, h1.AppInstance, h1.ProcessInstance, h1.CF, h1.Forging, h1.ForwardedClientCert, h1.ForwardedProto, h1.VcapRequestID:
			continue
		case h1.Expect:
			if whole { // nobody waits for a 100
				continue
			}
		case h1.ForwardedFor:
			if forwarded != "" {
				forwarded += ", "
			}
			forwarded += f.Value
			continue
		case h1.RequestID:
			requestID = true
		case h1.RequestStart:
			requestStart = true
		}
		if !q.Hop(f) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	if q.Chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.upgrade != "" {
		b = append(b, "Connection: Upgrade\r\n"...)
		b = appendField(b, "Upgrade", x.upgrade)
	}
	if !requestStart {
		b = append(b, "X-Request-Start: "...)
		b = strconv.AppendInt(b, x.start.UnixMilli(), 10)
		b = append(b, '\r', '\n')
	}
	if !requestID {
		b = appendField(b, "X-Request-Id", x.id)
	}
	return append(x.appendOwn(b, forwarded), '\r', '\n')
}

// appendOwn writes what only the router may state; forwarded is the client's own X-Forwarded-For.
func (x *exchange) appendOwn(b []byte, forwarded string) []byte {
	b = append(b, "X-Forwarded-For: "...)
	if forwarded != "" {
		b = append(b, forwarded...)
		b = append(b, ", "...)
	}
	b = append(b, x.c.ip...)
	b = append(b, '\r', '\n')
	b = appendField(b, "X-Forwarded-Proto", x.c.proto())
	b = appendField(b, "X-Vcap-Request-Id", x.id)
	if x.pool == nil {
		return appendField(b, remoteHeader, x.c.remote)
	}
	b = appendField(b, "X-Cf-ApplicationID", x.b.Endpoint.App)
	b = appendField(b, "X-Cf-InstanceID", x.b.Endpoint.Instance)
	return appendField(b, "X-Cf-InstanceIndex", x.b.Endpoint.Index)
}

func (c *client) proto() string {
	if c.https {
		return "https"
	}
	return "http"
}

// responseHead writes the response as the client gets it.
func (x *exchange) responseHead(b []byte, chunk bool) []byte {
	r := &x.resp
	b = appendStatus(b, r.Status, r.Reason)
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Kind {
		case h1.VcapRequestID:
			continue
		case h1.ContentLength:
			if r.Status == 204 { // it has no body, and some clients would wait for one
				continue
			}
		case h1.CF, h1.Forging:
			if strings.EqualFold(f.Name, routerError) { // only the router's own
				continue
			}
		case h1.SetCookie:
			x.noteSession(f.Value)
		}
		if !r.Hop(f) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	b = appendField(b, "X-Vcap-Request-Id", x.id)
	if w := x.wanted.sticky; w != "" && w != x.b.Endpoint.Instance { // its instance is gone: the session moves
		x.noteSession(sessionCookie + "=; Path=/")
	}
	if x.sticky != "" {
		b = appendField(b, "Set-Cookie", x.sticky)
	}
	if chunk {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if r.Status == 101 {
		b = append(b, "Connection: Upgrade\r\n"...)
		return append(appendField(b, "Upgrade", r.Upgrade), '\r', '\n')
	}
	return append(x.appendConnection(b), '\r', '\n')
}

// appendConnection tells the client what becomes of its connection, where its version does not.
func (x *exchange) appendConnection(b []byte) []byte {
	switch {
	case !x.keep:
		return append(b, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		return append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

func appendStatus(b []byte, status int, reason string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason...)
	return append(b, '\r', '\n')
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, '\r', '\n')
}

// want is what a request says about the instance it should go to.
type want struct {
	only    func(*table.Endpoint) bool // nil: any
	session bool                       // it has a session cookie
	sticky  string                     // the instance that __VCAP_ID__ names
}

// readWishes reads X-Cf-App-Instance, X-Cf-Process-Instance and the sticky cookies; false: it answered an error.
func (x *exchange) readWishes() bool {
	for i := range x.req.Fields {
		f := &x.req.Fields[i]
		switch f.Kind {
		case h1.AppInstance:
			guid, index, ok := strings.Cut(f.Value, ":")
			if !ok || guid == "" || index == "" || strings.Contains(index, ":") {
				x.fail(400, "invalid_cf_app_instance_header", "Invalid X-CF-App-Instance Header")
				return false
			}
			if !x.restrict(guid, index, func(e *table.Endpoint) bool { return e.App == guid && e.Index == index }) {
				return false
			}
		case h1.ProcessInstance:
			guid, index, _ := strings.Cut(f.Value, ":")
			if !x.restrict(guid, index, func(e *table.Endpoint) bool {
				return e.Tags["process_id"] == guid && (index == "" || e.Index == index)
			}) {
				return false
			}
		case h1.Cookie:
			x.readCookies(f.Value)
		}
	}
	if x.wanted.only != nil || !x.wanted.session {
		x.wanted.sticky = ""
	}
	return true
}

func (x *exchange) restrict(guid, index string, only func(*table.Endpoint) bool) bool {
	if x.pool.Find(only) == nil {
		x.fail(400, "unknown_route", "Requested instance ('"+index+"') with guid ('"+guid+"') does not exist for route ('"+x.req.Host+"')")
		return false
	}
	x.wanted.only = only
	return true
}

const (
	sessionCookie = "JSESSIONID"
	stickyCookie  = "__VCAP_ID__"
)

func (x *exchange) readCookies(v string) {
	for rest := v; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		switch name {
		case sessionCookie:
			x.wanted.session = true
		case stickyCookie:
			x.wanted.sticky = value
		}
	}
}

// noteSession makes the sticky cookie beside a session cookie that the app sets, with the same attributes.
func (x *exchange) noteSession(v string) {
	first, attributes, _ := strings.Cut(v, ";")
	if name, _, _ := strings.Cut(first, "="); name != sessionCookie || x.pool == nil || x.sticky != "" {
		return
	}
	x.sticky = stickyCookie + "=" + x.b.Endpoint.Instance
	for rest := attributes; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, ";")
		one = strings.TrimSpace(one)
		if name, _, _ := strings.Cut(one, "="); !strings.EqualFold(name, "Domain") && !strings.EqualFold(name, "HttpOnly") {
			x.sticky += "; " + one
		}
	}
	x.sticky += "; HttpOnly"
}

const routerError = "X-Cf-RouterError"

var reasons = map[int]string{400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
	431: "Request Header Fields Too Large", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported"}

// fail answers with one of the router's own errors, in gorouter's form.
func (x *exchange) fail(status int, reason, text string) {
	x.status, x.reason = status, reason
	if x.pump != nil || !x.arrived() {
		x.keep = false
	}
	text = strconv.Itoa(status) + " " + reasons[status] + ": " + text + "\n"
	b := appendStatus(x.c.out[:0], status, reasons[status])
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 GMT")
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, '\r', '\n')
	if reason != "" {
		b = appendField(b, routerError, reason)
		b = append(b, "Cache-Control: "...)
		if status == 404 || status == 503 {
			b = append(b, "public,max-age=2\r\n"...)
		} else {
			b = append(b, "no-cache, no-store\r\n"...)
		}
	}
	b = appendField(b, "X-Vcap-Request-Id", x.id)
	b = append(x.appendConnection(b), '\r', '\n')
	if x.req.Method != "HEAD" {
		b = append(b, text...)
		x.sent = int64(len(text))
	}
	x.c.out = b
	_ = x.flush(b)
}
