package router

import (
	"strconv"
	"strings"
	"time"

	"ingot/routing/router/affinity"
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
		case h1.B3, h1.B3Trace, h1.B3Span, h1.B3Parent, h1.B3Sampled, h1.B3Flags:
			continue // x.b3 has them
		case h1.TE:
			if x.b.Endpoint.HTTP2 && strings.Contains(strings.ToLower(f.Value), "trailers") { // gRPC's servers ask for it
				b = append(b, "TE: trailers\r\n"...)
			}
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
	if x.pool != nil {
		b = x.b3.Append(b)
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

// version is the protocol as the access line has it.
func (c *client) version(minor int) string {
	switch {
	case c.stream:
		return "HTTP/2.0"
	case minor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
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
			x.sticky.Note(x.c.rt.Cookies, f.Value)
		}
		if !r.Hop(f) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	b = appendField(b, "X-Vcap-Request-Id", x.id)
	if x.pool != nil {
		w := x.wanted.sticky
		if cookie := x.sticky.Cookie(x.b.Endpoint.Instance, x.context(), w != "" && w != x.b.Endpoint.Instance); cookie != "" {
			b = appendField(b, "Set-Cookie", cookie)
		}
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

// context is the route's context path as the client writes it.
func (x *exchange) context() string { return x.req.Target[:len(x.pool.Path())] }

// want is what a request says about the instance it should go to.
type want struct {
	only    func(*table.Endpoint) bool // nil: any
	session bool                       // it has a session cookie
	sticky  string                     // the instance that __VCAP_ID__ names
	hash    string                     // the value that the route's hash option looks at
}

// readWishes reads what the request says about its instance, and its trace; false: it answered an error.
func (x *exchange) readWishes() bool {
	app, process, header := "", "", ""
	if x.pool != nil {
		header = x.pool.HashHeader()
	}
	for i := range x.req.Fields {
		f := &x.req.Fields[i]
		switch f.Kind {
		case h1.AppInstance:
			app = f.Value
		case h1.ProcessInstance:
			process = f.Value
		case h1.Cookie:
			affinity.Names(x.c.rt.Cookies).Read(f.Value, &x.wanted.session, &x.wanted.sticky)
		default:
			x.b3.Note(f.Kind, f.Value)
		}
		if header != "" && strings.EqualFold(f.Name, header) {
			x.wanted.hash = f.Value
		}
	}
	x.b3.Settle(x.id)
	if app != "" && !x.wantApp(app) || app == "" && process != "" && !x.wantProcess(process) {
		return false
	}
	if x.wanted.only != nil || !x.wanted.session {
		x.wanted.sticky = ""
	}
	return true
}

func (x *exchange) wantApp(v string) bool {
	guid, index, ok := affinity.App(v)
	if !ok {
		x.fail(400, "invalid_cf_app_instance_header", "Invalid X-CF-App-Instance Header")
		return false
	}
	return x.restrict("instance ('"+index+"') with guid ('"+guid+"')", func(e *table.Endpoint) bool { return e.App == guid && e.Index == index })
}

func (x *exchange) wantProcess(v string) bool {
	guid, index, ok := affinity.Process(v)
	if !ok {
		x.fail(400, "invalid_cf_process_instance_header", "Invalid X-CF-Process-Instance Header")
		return false
	}
	what := "instance with process guid ('" + guid + "')"
	if index != "" {
		what = "instance ('" + index + "') with process guid ('" + guid + "')"
	}
	return x.restrict(what, func(e *table.Endpoint) bool { return e.Tags["process_id"] == guid && (index == "" || e.Index == index) })
}

func (x *exchange) restrict(what string, only func(*table.Endpoint) bool) bool {
	if x.pool == nil || x.pool.Find(only) == nil {
		x.fail(400, "unknown_route", "Requested "+what+" does not exist for route ('"+x.req.Host+"')")
		return false
	}
	x.wanted.only = only
	return true
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
		switch reason {
		case "no_endpoints", "empty_host":
			b = append(b, "Cache-Control: public,max-age=2\r\n"...)
		case "unknown_route", "invalid_cf_app_instance_header", "invalid_cf_process_instance_header":
			b = append(b, "Cache-Control: no-cache, no-store\r\n"...)
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
