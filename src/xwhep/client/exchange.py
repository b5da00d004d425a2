"""One HTTP/1.1 connection over TLS: a request out, its answer in. httptools reads the answers.

http.client would do the same and load the package email for it: a tenth of what a short `xw` costs.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

from xwhep.common.whereabouts import connect

PIECE_BYTES = 64 * 1024  # of one read; TLS gives 16 KiB at most
HEAD_LIMIT_BYTES = 64 * 1024
_INFORMATIONAL = range(100, 200)  # statuses that another answer follows


class Broken(ConnectionError):
    """The connection ended amid an answer, or what came is no HTTP."""


class Answer:
    """A status, headers by lowercase name, and a body that is read piece by piece.

    The methods `on_...` are the parser's to call.
    """

    def __init__(self, sock: ssl.SSLSocket, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.kept_alive = False  # whether the connection takes another request after this answer
        self.ended = False  # the whole body has come
        self._sock = sock
        self._method = method
        self._parser = HttpResponseParser(self)
        self._body = bytearray()
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.ended:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.ended:
            return
        if status in _INFORMATIONAL:
            self.headers.clear()
            return
        self.status = status
        self.kept_alive = self._parser.should_keep_alive()
        self.ended = self._method == "HEAD"

    def on_body(self, body: bytes) -> None:
        if not self.ended:
            self._body += body

    def on_message_complete(self) -> None:
        self.ended = bool(self.status)

    def on_message_begin(self) -> None:
        if self.ended:
            self.kept_alive = False  # it sends more than it was asked for

    def head(self) -> None:
        """Wait for status and headers.

        Raises:
            Broken, OSError: none came.
        """
        while not self.status:
            self._more()
            if not self.status and self._head_bytes > HEAD_LIMIT_BYTES:
                raise Broken("headers without end")

    def read(self, limit: int) -> bytes:
        """The next `limit` bytes of the body; fewer at its end, none after it.

        Raises:
            Broken, OSError: it broke off.
        """
        while len(self._body) < limit and not self.ended:
            self._more()
        piece = bytes(memoryview(self._body)[:limit])
        del self._body[:limit]
        return piece

    @property
    def taken(self) -> bool:
        """Whether its end has come and been read: what arrives next on the connection is another answer."""
        return self.ended and not self._body

    def _more(self) -> None:
        data = self._sock.recv(PIECE_BYTES)
        if not data:
            return self._hung_up()
        self._head_bytes += 0 if self.status else len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as exc:
            raise Broken(f"no HTTP: {exc}") from exc
        return None

    def _hung_up(self) -> None:
        if not self.status or "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise Broken("the connection was closed")
        self.ended = True  # such a body ends where the connection does


class Exchange:
    """Requests and answers in turn, to the server at `address` (`https://NAME:PORT`), which `context` must trust."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        url = urlsplit(address)
        self._name = url.hostname or ""
        self._port = url.port or 443
        self._host = url.netloc.rpartition("@")[2]
        self._context = context
        self._sock: ssl.SSLSocket | None = None
        self._answer: Answer | None = None

    def ready(self) -> bool:
        """Whether a connection stands that takes another request; one amid an answer is closed here."""
        if self._answer is not None and not (self._answer.kept_alive and self._answer.taken):
            self.close()  # the rest of a body must not be taken for the next answer
        return self._sock is not None

    def connect(self, timeout_s: float) -> None:
        self.close()
        self._sock = connect(self._name, self._port, self._context, timeout_s)

    def close(self) -> None:
        sock, self._sock, self._answer = self._sock, None, None
        if sock is not None:
            sock.close()

    def send(self, line: str, headers: Mapping[str, str], body: bytes | Iterable[bytes], timeout_s: float) -> None:
        """Send a request, whose `line` is like "GET /path"; `timeout_s` bounds each silence from now on.

        Chunks are sent as they come; their total is for the header Content-Length to say.

        Raises:
            ValueError: a header, or the line, would become two.
            OSError: the connection broke.
        """
        assert self._sock is not None  # noqa: S101 - the caller connects
        self._sock.settimeout(timeout_s)
        chunks: Iterable[bytes] = () if isinstance(body, bytes) else body
        content = body if isinstance(body, bytes) else b""
        fields = {"Host": self._host, "Accept-Encoding": "identity", **headers}
        if "Content-Length" not in fields and not line.startswith(("GET ", "HEAD ")):
            fields["Content-Length"] = str(len(content))
        self._sock.sendall(_head(line, fields) + content)
        for chunk in chunks:
            self._sock.sendall(chunk)

    def answer(self, method: str) -> Answer:
        """The answer to the request sent last, its head read.

        Raises:
            Broken, OSError: none came.
        """
        assert self._sock is not None  # noqa: S101 - a request was sent on it
        self._answer = Answer(self._sock, method)
        self._answer.head()
        return self._answer


def _head(line: str, fields: Mapping[str, str]) -> bytes:
    lines = [f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if line.count(" ") != 1 or any(mark in one for one in lines for mark in "\r\n\0"):
        raise ValueError("a request's first line or header would become two")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
