"""Says hello to whoever connects; becomes ready after a moment, as databases do."""

import socketserver
import time


class Hello(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello from the service")


time.sleep(0.5)
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("127.0.0.1", 7001), Hello).serve_forever()
