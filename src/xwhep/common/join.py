"""The one line an administrator pastes to connect a worker or a client: address, CA fingerprint, token.

    xwhep-join-1 https://grid.example.org:4321 sha256:9f86d0...a08 TOKEN

It is read from standard input or a file, never from a command line, where every user of the machine could see it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from xwhep.common.errors import UsageError
from xwhep.common.wire import DEFAULT_PORT

MARK = "xwhep-join-1"
_COMMAND = re.compile(r"echo '([^']*)' \| (?:xw login|xwhep-worker join)")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[a-z0-9._:-]+")  # also keeps a quote out of the shell line that carries the address


@dataclass(frozen=True, kw_only=True)
class JoinLine:
    """`address` is https://HOST:PORT without a path; `fingerprint` is sha256: and the hash of the CA's DER.

    `authority` is that certificate (PEM), where it came along with the line: then it need not be fetched.
    """

    address: str
    fingerprint: str
    token: str
    authority: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{MARK} {self.address} {self.fingerprint} {self.token}"

    def __repr__(self) -> str:  # tokens never reach a log by accident
        return f"JoinLine({self.address}, {self.fingerprint})"


def parse_join_line(text: str) -> JoinLine:
    """Read a pasted line, alone or in the shell command that the server prints; white space does not matter.

    Raises:
        UsageError: it is not such a line; the text is not repeated, since it may hold a token.
    """
    command = _COMMAND.fullmatch(text.strip())
    parts = (command[1] if command else text).split()
    if len(parts) != 4 or parts[0] != MARK or not _FINGERPRINT.fullmatch(parts[2]):
        raise UsageError(
            f"this is no join line: it starts with {MARK} and has four parts",
            "on the server, run: xwhep-server join-line worker (or client), and paste its whole output",
        )
    return JoinLine(address=normal_address(parts[1]), fingerprint=parts[2], token=parts[3])


def normal_address(text: str) -> str:
    """HOST, HOST:PORT or https://HOST[:PORT] as https://HOST:PORT.

    Raises:
        UsageError: another scheme, no host, or a path.
    """
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        host, port = url.hostname or "", url.port or DEFAULT_PORT
    except ValueError as exc:
        raise UsageError(f"{text!r} is no server address: {exc}", "write it as https://HOST:4321") from exc
    more_than_an_address = url.path not in ("", "/") or url.query or url.fragment or url.username is not None
    if url.scheme != "https" or not _HOST.fullmatch(host) or more_than_an_address:
        raise UsageError(f"{text!r} is no server address", "write it as https://HOST:4321")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
