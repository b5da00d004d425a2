"""`xw app sign` and `xw app show`: whose word stands for a program."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from xwhep.client import credentials, keys, lookup, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.parser import Command, add_format
from xwhep.client.transfer import Blob, proving, put_path
from xwhep.common.errors import NotFound, UsageError
from xwhep.common.wire import App, AppSpec, Binary


def _find(server: Server, name: str) -> App:
    try:
        return server.get(f"/v1/apps/{in_path(name)}", App)
    except NotFound as exc:
        raise lookup.unknown_app(server, name) from exc


def _configure_sign(parser: ArgumentParser) -> None:
    parser.description = (
        "Sign an app that is registered. Each FILE is one of its programs as you have it: what is signed is the\n"
        "content of your file, never a hash that the server tells you."
    )
    parser.add_argument("name", metavar="NAME", help="the app")
    parser.add_argument("files", metavar="FILE", nargs="+", help="its programs, or some of them")
    parser.add_argument("--key", metavar="KEYFILE", required=True, help="the private key, as xw key make wrote it")
    add_format(parser)


def _sign(args: Namespace) -> int:
    key = keys.load(Path(args.key))
    with Server(credentials.find()) as server:
        app = _find(server, args.name)

        def register(anew: bool) -> App:
            blobs = [put_path(server, Path(name), anew) for name in args.files]
            binaries = [key.sign(app.name, binary) for blob in blobs for binary in _binaries(app, blob)]
            return server.post("/v1/apps", AppSpec(name=app.name, binaries=binaries), App)

        signed = proving(register)
    _print(signed, args.format)
    return 0


def _binaries(app: App, blob: Blob) -> list[Binary]:
    """Those whose content the file is; a script may be there for several kinds of machine."""
    found = [binary for binary in app.binaries if binary.sha256 == blob.sha256]
    if not found:
        raise UsageError(
            f"{blob.name} is no program of the app {app.name} as it is registered",
            "give the file that was registered, or register this one: xw app register --sign KEYFILE",
        )
    return found


def _configure_show(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the app")
    add_format(parser)


def _show(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        app = _find(server, args.name)
    _print(app, args.format)
    return 0


def _print(app: App, form: str) -> None:
    if form == "json":
        show.print_json(app)
        return
    show.print_facts(
        [
            ("name", app.name),
            ("id", app.id),
            ("owner", app.owner),
            ("group", app.group),
            ("mode", f"{app.mode:04o}"),
            ("registered", text.moment(app.created_at)),
            ("shared asset", app.shared),
            ("workers", " ".join(app.workers)),
            *(("program", _described(binary)) for binary in app.binaries),
        ]
    )


def _described(binary: Binary) -> str:
    whose = f"signed by {binary.signer}" if binary.signer else "not signed"
    return f"{binary.os}/{binary.arch}  {text.size(binary.size)}  sha256 {binary.sha256[:12]}  {whose}"


SIGN = Command(_configure_sign, _sign, "xw app sign hello ./hello.sh --key ./signing.key")
SHOW = Command(_configure_show, _show, "xw app show hello")
