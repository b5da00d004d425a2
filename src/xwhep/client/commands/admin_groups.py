"""`xw admin group ...`: users that share apps, data, jobs or workers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client import credentials, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import NotFound
from xwhep.common.wire import Group, GroupChange, GroupSpec


def _list(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        groups = server.get("/v1/groups", list[Group])
    if args.format == "json":
        show.print_json(groups)
        return 0
    show.print_table(
        ("NAME", "MEMBERS", "MADE"),
        [
            (group.name, " ".join(group.members), text.moment(group.created_at))
            for group in sorted(groups, key=lambda group: group.name)
        ],
    )
    return 0


def _configure_add(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the new group")
    parser.add_argument("members", metavar="LOGIN", nargs="*", help="its members")
    add_format(parser)


def _add(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        group = server.post("/v1/groups", GroupSpec(name=args.name, members=args.members), Group)
    _print(group, args.format)
    return 0


def _configure_members(parser: ArgumentParser) -> None:
    parser.description = "Show who is in a group; with --add or --remove, change it first."
    parser.add_argument("name", metavar="NAME", help="the group")
    parser.add_argument("--add", metavar="LOGIN", nargs="+", action="extend", default=[], help="users that join it")
    parser.add_argument("--remove", metavar="LOGIN", nargs="+", action="extend", default=[], help="users that leave it")
    add_format(parser)


def _members(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        if args.add or args.remove:
            change = GroupChange(add=args.add, remove=args.remove)
            group = server.post(f"/v1/groups/{in_path(args.name)}", change, Group)
        else:
            group = _find(server, args.name)
    _print(group, args.format)
    return 0


def _find(server: Server, name: str) -> Group:
    for group in server.get("/v1/groups", list[Group]):
        if group.name == name:
            return group
    raise NotFound(f"there is no group {name}", "list them with: xw admin group list")


def _print(group: Group, form: str) -> None:
    if form == "json":
        show.print_json(group)
    else:
        show.line(text.clean(f"{group.name}: {' '.join(group.members) or '(nobody)'}"))


LIST = Command(add_format, _list, "xw admin group list")
ADD = Command(_configure_add, _add, "xw admin group add lab ann bob")
MEMBERS = Command(_configure_members, _members, "xw admin group members lab --add carl --remove bob")
