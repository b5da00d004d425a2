"""`xw data ...`: named files on the server."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from xwhep.client import credentials, permissions, show, text, uploads
from xwhep.client.connection import Server, in_path
from xwhep.client.folder import Arrival, Folder, checked_parts
from xwhep.client.lookup import find_datum, unknown_datum
from xwhep.client.parser import Command, add_format
from xwhep.client.transfer import Blob, get_to_stream
from xwhep.common.errors import NotFound
from xwhep.common.wire import Datum


def _configure_put(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="file to upload; - for standard input (then --name too)")
    parser.add_argument("--name", metavar="NAME", help="its name on the server (default: the file's)")
    add_format(parser)


def _put(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        datum = uploads.put_datum(server, args.file, args.name or "")
    if args.format == "json":
        show.print_json(datum)
    else:
        show.line(text.clean(f"{datum.name} {datum.id}"))
    return 0


def _configure_get(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME|ID")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="file or folder to write; - for standard output (default: its name, here)",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def _get(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        datum = find_datum(server, args.name)
        blob = Blob(datum.sha256, datum.size, datum.name)
        if args.output == "-":
            get_to_stream(server, blob, sys.stdout.buffer)
            return 0
        target = Path(args.output or ".")
        if target.is_dir():
            target /= checked_parts(datum.name)[-1]
        arrival = Arrival(target.name, blob)
        with Folder(target.parent, args.force) as folder:
            if not folder.is_there(arrival):
                folder.fetch(server, arrival)
    show.line(text.clean(str(target)))
    return 0


def _configure_list(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also those that were uploaded for jobs only")
    add_format(parser)


def _list(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        data = server.get(f"/v1/data{'?all=1' if args.all else ''}", list[Datum])
    if args.format == "json":
        show.print_json(data)
        return 0
    short = show.short_ids([datum.id for datum in data])
    show.print_table(
        ("NAME", "ID", "SIZE", "SHA256", "OWNER", "MODE", "REGISTERED"),
        [
            (
                datum.name,
                short[datum.id],
                text.size(datum.size),
                datum.sha256[:12],
                datum.owner,
                permissions.shown(datum.mode, datum.group),
                text.moment(datum.created_at),
            )
            for datum in sorted(data, key=lambda datum: datum.name)
        ],
    )
    return 0


def _configure_show(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME|ID")
    add_format(parser)


def _show(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        datum = find_datum(server, args.name)
    if args.format == "json":
        show.print_json(datum)
        return 0
    show.print_facts(
        [
            ("name", datum.name),
            ("id", datum.id),
            ("size", f"{datum.size} bytes"),
            ("sha256", datum.sha256),
            ("owner", datum.owner),
            ("mode", permissions.shown(datum.mode, datum.group)),
            ("registered", text.moment(datum.created_at)),
        ]
    )
    return 0


def _configure_rm(parser: ArgumentParser) -> None:
    parser.description = "Remove data of yours. Those that a job which has not ended needs stay, and it says so."
    parser.add_argument("names", metavar="NAME|ID", nargs="+")


def _rm(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        for name in args.names:
            try:
                server.delete(f"/v1/data/{in_path(name)}")
            except NotFound as exc:
                raise unknown_datum(server, name) from exc
            show.line(text.clean(f"{name} removed"))
    return 0


PUT = Command(_configure_put, _put, "xw data put ./input.csv --name input")
GET = Command(_configure_get, _get, "xw data get input -o ./copy.csv")
LIST = Command(_configure_list, _list, "xw data list --format json")
SHOW = Command(_configure_show, _show, "xw data show input")
RM = Command(_configure_rm, _rm, "xw data rm input")
