"""service.py SOCKET FOLDER GIVEN: serve containers that are plain processes, until it is told to stop.

network test ── docker SDK ── unix socket ──> api.py ──> containers.py ──> running.py ── enter.py ──> a role's program
                                                              └── images.py: root file systems from buildah's storage

FOLDER holds roots and volumes, GIVEN is JSON: name of an image -> environment. It is a program of its own, as
podman's service is.
"""

from __future__ import annotations

import json
import signal
import socketserver
import sys
import threading
from pathlib import Path

from xwhep_packaging.process_engine import running
from xwhep_packaging.process_engine.api import Handler
from xwhep_packaging.process_engine.containers import Host
from xwhep_packaging.process_engine.images import Images


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def main(socket: str, folder: str, given: str) -> None:
    running.kill_leftovers()
    place = Path(folder)
    host = Host(folder=place, images=Images(folder=place, log=place / "log"), given=json.loads(given))
    Handler.host = host
    with Server(socket, Handler) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.1)
    host.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
