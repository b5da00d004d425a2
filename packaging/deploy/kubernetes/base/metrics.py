"""The server's figures for Prometheus, without a token: beside it, where /metrics is open to this machine.

Who may ask is decided by the network policy `metrics`. No certificate is checked: it is the server of this very pod.
"""

import ssl
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SOURCE = "https://127.0.0.1:4321/metrics"
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


class Figures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(404)
            return
        try:
            with urllib.request.urlopen(SOURCE, timeout=5, context=CONTEXT) as answer:
                body, kind = answer.read(), answer.headers["Content-Type"]
        except OSError as exc:
            self.send_error(502, str(exc))
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape each half minute is nothing to log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 9321), Figures).serve_forever()
