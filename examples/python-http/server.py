"""A web server of the standard library: / greets, any other path is 404."""

import http.server
import os
import sys


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/"
        text = "Hello from Python %s, instance %s\n" % (sys.version.split()[0], os.environ.get("CF_INSTANCE_INDEX", "?"))
        body = (text if found else "no such page\n").encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


address = (os.environ.get("VCAP_APP_HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080")))
http.server.ThreadingHTTPServer(address, Hello).serve_forever()
