"""`xw chmod`: who besides its owner may see, change or use an app, a datum or a job."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import NamedTuple

from xwhep.client import credentials, lookup, permissions, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import NotFound, UsageError
from xwhep.common.names import is_name
from xwhep.common.wire import App, Datum, Job, Mode


class _Thing(NamedTuple):
    """What has a mode: where the server keeps it, and what it is now."""

    path: str
    name: str
    mode: int
    kind: type[App] | type[Datum] | type[Job]


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Set who may do what. MODE is as chmod's: an octal number, or changes such as g+r or o=rx. To read is to see\n"
        "a thing and its contents; to write is to change an app, or to cancel or remove a job; to execute is to\n"
        "submit jobs of an app. Others' rights to a job are those that both its mode and its app's give."
    )
    parser.add_argument("mode", metavar="MODE", help="750, g+r, u=rw,o-rwx (write -x as a-x)")
    parser.add_argument("kind", metavar="KIND", choices=(*_FINDERS, "any"), help="app, data, job; any finds an id")
    parser.add_argument("name", metavar="NAME", help="its name or id")
    parser.add_argument("--group", metavar="G", help="the group of users that it belongs to; '' takes it away")
    add_format(parser)


def _run(args: Namespace) -> int:
    _mode(args.mode, 0)  # a word that is no mode is said before the server is asked
    if args.group and not is_name(args.group):
        raise UsageError(f"{args.group!r} is no name of a group", "xw chmod --help")
    with Server(credentials.find()) as server:
        thing = _unread(args) or _find(server, args.kind, args.name)
        change = Mode(mode=_mode(args.mode, thing.mode), group=args.group)
        try:
            done = server.post(f"{thing.path}/mode", change, thing.kind)
        except NotFound:
            thing = _find(server, args.kind, args.name)  # the beginning of an id; else it says what is near
            done = server.post(f"{thing.path}/mode", change, thing.kind)
    if args.format == "json":
        show.print_json(done)
    else:
        group = done.owner_group if isinstance(done, Job) else done.group
        show.line(text.clean(f"{permissions.shown(done.mode, group)}  {thing.name}"))
    return 0


def _unread(args: Namespace) -> _Thing | None:
    """For a whole new mode nothing need be read: so an owner gets back what he has closed even to himself."""
    if args.kind not in _KINDS or not permissions.is_whole(args.mode):
        return None
    folder, kind = _KINDS[args.kind]
    return _Thing(f"/v1/{folder}/{in_path(args.name)}", f"{args.kind} {args.name}", 0, kind)


def _mode(word: str, mode: int) -> int:
    try:
        return permissions.changed(word, mode)
    except ValueError as exc:
        raise UsageError(str(exc), "xw chmod --help") from exc


def _find(server: Server, kind: str, name: str) -> _Thing:
    if kind != "any":
        return _FINDERS[kind](server, name)
    for find in _FINDERS.values():
        try:
            return find(server, name)
        except NotFound:
            continue
    raise NotFound(f"there is no app, datum or job {name}", "xw app list, xw data list or xw job list")


def _app(server: Server, name: str) -> _Thing:
    app = lookup.find_app(server, name)
    return _Thing(f"/v1/apps/{in_path(app.name)}", f"app {app.name}", app.mode, App)


def _datum(server: Server, name: str) -> _Thing:
    datum = lookup.find_datum(server, name)
    return _Thing(f"/v1/data/{in_path(datum.id)}", f"data {datum.name}", datum.mode, Datum)


def _job(server: Server, name: str) -> _Thing:
    job = lookup.find_job(server, name)
    return _Thing(f"/v1/jobs/{in_path(job.id)}", f"job {job.id}", job.mode, Job)


_KINDS: dict[str, tuple[str, type[App] | type[Datum] | type[Job]]] = {
    "app": ("apps", App),
    "data": ("data", Datum),
    "job": ("jobs", Job),
}
_FINDERS: dict[str, Callable[[Server, str], _Thing]] = {"app": _app, "data": _datum, "job": _job}
CHMOD = Command(_configure, _run, "xw chmod g+r data input --group biology\n  xw chmod 755 job 3f9a1c07")
