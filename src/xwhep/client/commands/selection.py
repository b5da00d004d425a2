"""Jobs named one by one, or by the group or session that they share."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client.listing import Wanted
from xwhep.common.errors import UsageError


def add_ids(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="the job's id, or its beginning")


def add_selection(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*", help="the job's id, or its beginning")
    add_shared(parser)


def add_shared(parser: ArgumentParser) -> None:
    parser.add_argument("--group", metavar="G", default="", help="the jobs of a group")
    parser.add_argument("--session", metavar="S", default="", help="the jobs of a session")


def shared(args: Namespace) -> Wanted | None:
    """The group or session that was named, None when ids were.

    Raises:
        UsageError: none of the three, or two.
    """
    if sum(map(bool, (args.ids, args.group, args.session))) != 1:
        raise UsageError("name jobs by their ids, or by one of --group and --session", "xw job list shows them")
    return None if args.ids else Wanted(group=args.group, session=args.session)
