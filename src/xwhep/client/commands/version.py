"""`xw version`. Imports nothing of the network until it asks the server: it is what people type first, and often."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client.parser import Command, add_format
from xwhep.client.text import clean
from xwhep.common.errors import AuthenticationFailed, XwhepError
from xwhep.common.version import VERSION as CLIENT_VERSION


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--client", action="store_true", help="do not ask the server")
    add_format(parser)


def _run(args: Namespace) -> int:
    server, remark = ("", "") if args.client else _server_version()
    if args.format == "json":
        import json  # noqa: PLC0415 - see above

        print(json.dumps({"client": CLIENT_VERSION, "server": server or None}, indent=2))  # noqa: T201
        return 0
    print(f"client  {CLIENT_VERSION}")  # noqa: T201
    if not args.client:
        print(f"server  {clean(server or remark)}")  # noqa: T201
    return 0


def _server_version() -> tuple[str, str]:
    """The server's version, or why it is not known. A client without a server is no failure here."""
    from xwhep.client import credentials  # noqa: PLC0415

    try:
        chosen = credentials.find()
        from xwhep.client.connection import Server  # noqa: PLC0415
        from xwhep.common.wire import Health  # noqa: PLC0415

        with Server(chosen) as server:
            return server.get("/healthz", Health).version, ""
    except AuthenticationFailed:
        return "", "unknown: not logged in (xw login)"
    except XwhepError as error:
        return "", f"unknown: {error}"


VERSION = Command(_configure, _run, "xw version --client")
