"""What the docker SDK asks an engine, answered: the part of docker's HTTP interface that tests of containers use."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import EngineError, PipelineError
from xwhep_packaging.process_engine.containers import STOP_GRACE_S, Box, Execution, Host, Refused
from xwhep_packaging.process_engine.running import STDERR, STDOUT, Program

VERSION = {"Version": "process", "ApiVersion": "1.41", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}
HEADER_READ_S = 5.0
Route = tuple[str, str, str]  # method, pattern of the path, name of what answers


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    host: ClassVar[Host]
    routes: ClassVar[list[Route]] = [
        ("GET|HEAD", "/_ping", "ping"),
        ("GET", "/version|/info", "version"),
        ("POST", "/networks/create", "network_create"),
        ("GET", "/networks", "network_list"),
        ("GET", "/networks/([^/]+)", "network_show"),
        ("DELETE", "/networks/([^/]+)", "network_remove"),
        ("POST", "/volumes/create", "volume_create"),
        ("GET", "/volumes", "volume_list"),
        ("GET", "/volumes/([^/]+)", "volume_show"),
        ("DELETE", "/volumes/([^/]+)", "volume_remove"),
        ("GET", "/images/(.+)/json", "image_show"),
        ("POST", "/containers/create", "box_create"),
        ("GET", "/containers/json", "box_list"),
        ("GET", "/containers/([^/]+)/json", "box_show"),
        ("POST", "/containers/([^/]+)/(start|stop|restart|kill|wait)", "box_do"),
        ("GET", "/containers/([^/]+)/logs", "box_logs"),
        ("POST", "/containers/([^/]+)/exec", "exec_create"),
        ("GET", "/containers/([^/]+)/archive", "box_read"),
        ("PUT", "/containers/([^/]+)/archive", "box_write"),
        ("DELETE", "/containers/([^/]+)", "box_remove"),
        ("GET", "/exec/([^/]+)/json", "exec_show"),
        ("POST", "/exec/([^/]+)/start", "exec_start"),
    ]

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v\d+\.\d+(?=/)", "", unquote(url.path))
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        try:
            for method, pattern, name in self.routes:
                found = re.fullmatch(pattern, path)
                if found and self.command in method.split("|"):
                    ask: Callable[..., None] = getattr(self, f"_{name}")
                    return ask(*found.groups())
            raise Refused(501, f"the engine `process` knows no {self.command} {path}")
        except Refused as exc:
            self._json({"message": str(exc)}, exc.status)
        except PipelineError as exc:
            self._json({"message": exc.report()}, 404 if isinstance(exc, EngineError) else 500)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests' own log says what they did."""

    def _raw(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            found = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self._raw() or b"{}")
        return body

    def _json(self, answer: Any, status: int = 200) -> None:
        self._send(b"" if status == 204 else json.dumps(answer).encode(), "application/json", status)

    def _send(self, content: bytes, form: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def _labelled(self, labels: dict[str, str]) -> bool:
        """Whether the question's filters let it through."""
        filters = json.loads(self.query.get("filters") or "{}")
        wanted = filters.get("label") or []
        rows = [str(row).partition("=") for row in wanted]
        return all(name in labels and (not sign or labels[name] == value) for name, sign, value in rows)

    def _ping(self) -> None:
        self._send(b"OK", "text/plain", 200)

    def _version(self) -> None:
        self._json(VERSION)

    def _network_create(self) -> None:
        with self.host.lock:
            self._json({"Id": self.host.add_network(self._body()).id, "Warning": ""}, 201)

    def _network_list(self) -> None:
        self._json([one.shown() for one in list(self.host.networks.values()) if self._labelled(one.labels)])

    def _network_show(self, name: str) -> None:
        self._json(self.host.network(name).shown())

    def _network_remove(self, name: str) -> None:
        with self.host.lock:
            network = self.host.network(name)
            if network.used:
                raise Refused(403, f"{network.name} has containers")
            del self.host.networks[network.id]
        self._json(None, 204)

    def _volume_create(self) -> None:
        self._json(self.host.add_volume(self._body()).shown(), 201)

    def _volume_list(self) -> None:
        self._json({"Volumes": [one.shown() for one in list(self.host.volumes.values()) if self._labelled(one.labels)]})

    def _volume_show(self, name: str) -> None:
        if name not in self.host.volumes:
            raise Refused(404, f"no such volume: {name}")
        self._json(self.host.volumes[name].shown())

    def _volume_remove(self, name: str) -> None:
        self.host.remove_volume(name)
        self._json(None, 204)

    def _image_show(self, name: str) -> None:
        config = self.host.images.config(name)
        self._json({"Id": config["Id"], "Config": config, "RepoTags": []})

    def _box_create(self) -> None:
        box = self.host.create(self.query.get("name", ""), self._body())
        self._json({"Id": box.id, "Warnings": []}, 201)

    def _box_list(self) -> None:
        boxes = [box for box in list(self.host.boxes.values()) if self._asked("all") or box.is_running]
        kept = [box.shown() for box in boxes if self._labelled(box.body.get("Labels") or {})]
        self._json([{"Id": row["Id"], "Names": [row["Name"]], "State": row["State"]["Status"]} for row in kept])

    def _box_show(self, name: str) -> None:
        self._json(self.host.box(name).shown())

    def _box_do(self, name: str, what: str) -> None:
        box, grace = self.host.box(name), float(self.query.get("t") or STOP_GRACE_S)
        self._raw()
        if what == "wait":
            if box.program is not None:
                box.ended.wait()
            return self._json({"StatusCode": box.exit_code})
        if what in ("stop", "restart"):
            box.stop(grace)
        if what in ("start", "restart"):
            box.start()
        if what == "kill":
            box.kill(self.query.get("signal") or "SIGKILL")
        return self._json(None, 204)

    def _box_remove(self, name: str) -> None:
        self.host.remove(self.host.box(name), force=self._asked("force"))
        self._json(None, 204)

    def _box_logs(self, name: str) -> None:
        box = self.host.box(name)
        self._stream()
        wanted = {number for number, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if self._asked(name)}
        told = box.output.follow(to_the_end=self._asked("follow"))
        self._send_all((row for row in told if row[0] in wanted), tty=box.tty)

    def _asked(self, name: str) -> bool:
        return self.query.get(name, "") in ("1", "true", "True")

    def _stream(self) -> None:
        """The answer ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.docker.raw-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _send_all(self, rows: Iterable[tuple[int, bytes]], *, tty: bool) -> None:
        with suppress(OSError):  # the other end has heard enough
            for stream, data in rows:
                self.wfile.write(data if tty else struct.pack(">BxxxL", stream, len(data)) + data)

    def _exec_create(self, name: str) -> None:
        box, body = self.host.box(name), self._body()
        if not box.is_running:
            raise Refused(409, f"{box.name} is not running")
        identity = f"{box.id[:32]}{len(self.host.executions):032x}"
        self.host.executions[identity] = Execution(box=box, body=body)
        self._json({"Id": identity}, 201)

    def _execution(self, name: str) -> Execution:
        if name not in self.host.executions:
            raise Refused(404, f"no such exec: {name}")
        return self.host.executions[name]

    def _exec_show(self, name: str) -> None:
        execution = self._execution(name)
        self._json({"ID": name, "Running": execution.exit_code is None, "ExitCode": execution.exit_code})

    def _exec_start(self, name: str) -> None:
        execution = self._execution(name)
        asked = self._body()
        if not execution.box.is_running:
            raise Refused(409, f"{execution.box.name} is not running")
        if asked.get("Detach"):
            program, _ = execution.start()
            threading.Thread(target=lambda: self._finish(execution, program), daemon=True).start()
            return self._json(None, 200)
        self.send_response(101, "UPGRADED")
        for header, value in (("Connection", "Upgrade"), ("Upgrade", "tcp")):
            self.send_header(header, value)
        self.end_headers()
        self.close_connection = True
        _wait_until_read(self.connection)
        program, output = execution.start()
        if execution.body.get("AttachStdin"):
            threading.Thread(target=self._pass_on, args=(program,), daemon=True).start()
        else:
            program.close_input()
        finisher = threading.Thread(target=lambda: self._finish(execution, program), daemon=True)
        finisher.start()
        self._send_all(output.follow(to_the_end=True), tty=bool(execution.body.get("Tty")))
        return finisher.join()

    @staticmethod
    def _finish(execution: Execution, program: Program) -> None:
        code = program.process.wait()
        execution.exit_code = 128 - code if code < 0 else code
        program.wait()

    def _pass_on(self, program: Program) -> None:
        with suppress(OSError, ValueError):
            while data := self.rfile.read1():
                program.write(data)
        program.close_input()

    def _box_write(self, name: str) -> None:
        place = self._inside(self.host.box(name))
        content = self.host.folder / f"archive-{threading.get_ident()}"
        content.write_bytes(self._raw())
        command.run(Command(argv=["tar", "-C", place, "--no-same-owner", "-xf", content], error=EngineError))
        content.unlink()
        self._json(None)

    def _box_read(self, name: str) -> None:
        place = self._inside(self.host.box(name))
        content = self.host.folder / f"archive-{threading.get_ident()}"
        command.run(Command(argv=["tar", "-C", place.parent, "-cf", content, place.name], error=EngineError))
        self._stream()
        with content.open("rb") as stream:
            shutil.copyfileobj(stream, self.wfile)
        content.unlink()

    def _inside(self, box: Box) -> Any:
        """A path that cannot leave the root."""
        place = (box.root / self.query["path"].lstrip("/")).resolve()
        if not place.is_relative_to(box.root.resolve()) or not place.exists():
            raise Refused(404, f"no such path in {box.name}: {self.query['path']}")
        return place


def _wait_until_read(connection: socket.socket) -> None:
    """Until the other end has taken in the header: it looks for what follows on the bare socket, and would lose what
    came together with the header."""
    deadline, waiting = time.monotonic() + HEADER_READ_S, struct.pack("i", 1)
    while struct.unpack("i", waiting)[0] and time.monotonic() < deadline:
        waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, waiting)
        time.sleep(0.0005)
