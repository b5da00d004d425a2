"""`xw app ...`: programs that jobs run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from xwhep.client import credentials, permissions, platforms, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.lookup import unknown_app
from xwhep.client.parser import Command, add_format
from xwhep.client.transfer import proving, put_path, regular_file
from xwhep.common.errors import NotFound, UsageError
from xwhep.common.wire import App, AppSpec, Binary

if TYPE_CHECKING:
    from xwhep.client.keys import Key


def _configure_register(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what jobs call the app")
    parser.add_argument("files", metavar="FILE", nargs="*", help="its program, one for each kind of machine")
    parser.add_argument("--shared", metavar="ASSET", help="no FILE: workers have it installed under this name")
    parser.add_argument("--os", metavar="OS", help="such as linux, or any (default: read from the program)")
    parser.add_argument("--arch", metavar="ARCH", help="such as x86_64, or any (default: read from the program)")
    parser.add_argument("--sign", metavar="KEYFILE", help="sign it with this private key, as xw key make wrote it")
    add_format(parser)


def _register(args: Namespace) -> int:
    _check_register(args)
    machines = [_machine(Path(name), args) for name in args.files]
    key = _key(args.sign) if args.sign else None
    with Server(credentials.find()) as server:

        def register(anew: bool) -> App:
            binaries = []
            for name, machine in zip(args.files, machines, strict=True):
                blob = put_path(server, Path(name), anew)
                binary = Binary(os=machine.os, arch=machine.arch, sha256=blob.sha256, size=blob.size)
                binaries.append(key.sign(args.name, binary) if key else binary)
            return server.post("/v1/apps", AppSpec(name=args.name, binaries=binaries, shared=args.shared or ""), App)

        app = proving(register)
    if args.format == "json":
        show.print_json(app)
    else:
        show.line(text.clean(f"{app.name} {app.id}"))
    return 0


def _key(file: str) -> Key:
    from xwhep.client import keys  # noqa: PLC0415 - few apps are signed

    return keys.load(Path(file))


def _check_register(args: Namespace) -> None:
    if bool(args.files) == (args.shared is not None):
        raise UsageError("give either the app's FILE or --shared ASSET", "xw app register --help")
    if args.shared is not None and (args.os or args.arch or not args.shared):
        raise UsageError("--shared takes the name of an asset, and neither --os nor --arch", "xw app register --help")
    if args.shared is not None and args.sign:
        raise UsageError("--sign needs a FILE: a shared asset is the word of the worker's owner", "leave --sign out")
    if len(args.files) > 1 and (args.os or args.arch):
        raise UsageError(
            "--os and --arch describe one FILE, not several", "leave them out: they are read from each FILE"
        )


def _machine(path: Path, args: Namespace) -> platforms.Platform:
    with regular_file(path) as file:
        found = platforms.of_program(file.read(platforms.HEADER_BYTES))
    operating_system, arch = args.os or (found and found.os), args.arch or (found and found.arch)
    if not operating_system or not arch:
        raise UsageError(f"cannot tell which machines run {path}", "say it with --os and --arch (or: any)")
    return platforms.Platform(operating_system, arch)


def _list(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        apps = server.get("/v1/apps", list[App])
    if args.format == "json":
        show.print_json(apps)
        return 0
    short = show.short_ids([app.id for app in apps])
    show.print_table(
        ("NAME", "ID", "RUNS ON", "SIZE", "OWNER", "MODE", "REGISTERED"),
        [
            (
                app.name,
                short[app.id],
                _runs_on(app),
                _size(app),
                app.owner,
                permissions.shown(app.mode, app.group),
                text.moment(app.created_at),
            )
            for app in sorted(apps, key=lambda app: app.name)
        ],
    )
    return 0


def _runs_on(app: App) -> str:
    if app.shared:
        where = ", ".join(app.workers) or "no worker now"
        return f"shared {app.shared}: {where}"
    return ", ".join(f"{binary.os}/{binary.arch}" for binary in app.binaries)


def _size(app: App) -> str:
    return text.size(max(binary.size for binary in app.binaries)) if app.binaries else "-"


def _configure_rm(parser: ArgumentParser) -> None:
    parser.description = "Remove apps of yours. Jobs that ran them stay; while one has not ended, its app stays too."
    parser.add_argument("names", metavar="NAME", nargs="+")


def _rm(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        for name in args.names:
            try:
                server.delete(f"/v1/apps/{in_path(name)}")
            except NotFound as exc:
                raise unknown_app(server, name) from exc
            show.line(text.clean(f"{name} removed"))
    return 0


REGISTER = Command(_configure_register, _register, "xw app register hello ./hello.sh")
LIST = Command(add_format, _list, "xw app list --format json")
RM = Command(_configure_rm, _rm, "xw app rm hello")
