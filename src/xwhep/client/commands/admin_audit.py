"""`xw admin audit`: what administrators did, oldest first, as logs are read."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence

from xwhep.client import credentials, moments, show, text
from xwhep.client.connection import Server
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import ConnectionFailed
from xwhep.common.wire import AuditEntry

LIMIT = 50
MOST = 10_000  # that the server gives at once
FOLLOW_S = 1.0
OVERLAP_S = 5.0  # asked for again, since entries may be written in another order than they are timed


def _count(word: str) -> int:
    number = int(word)
    if not 1 <= number <= MOST:
        raise ArgumentTypeError(f"must be between 1 and {MOST}")
    return number


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--since", metavar="WHEN", type=moments.past, default=0.0, help="such as 2h (ago), 2026-11-23")
    parser.add_argument(
        "--limit", metavar="N", type=_count, default=LIMIT, help=f"at most the N newest (default: {LIMIT})"
    )
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what happens from now on, until Ctrl-C")
    add_format(parser)


def entries(server: Server, since: float, limit: int) -> list[AuditEntry]:
    """Oldest first."""
    return server.get(f"/v1/audit?since={since}&limit={limit}", list[AuditEntry])[::-1]


def row(entry: AuditEntry) -> tuple[str, ...]:
    return (text.moment(entry.at), entry.who, entry.act, entry.subject, entry.detail)


HEADINGS = ("TIME", "WHO", "ACT", "SUBJECT", "DETAIL")


def _run(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        if not args.follow:
            found = entries(server, args.since, args.limit)
            show.print_json(found) if args.format == "json" else show.print_table(HEADINGS, map(row, found))
            return 0
        write = _write_json if args.format == "json" else _write_plain
        known = entries(server, args.since, MOST)
        for entry in known[-args.limit :]:
            write(entry)
        sys.stdout.flush()
        for entry in _following(server, known, args.since):
            write(entry)
            sys.stdout.flush()
    return 0


def _following(server: Server, known: Sequence[AuditEntry], since: float) -> Iterator[AuditEntry]:
    """What comes after `known`, which is all since then, for ever. A server that restarts is waited for."""
    recent = list(known)
    away = False
    while True:
        time.sleep(FOLLOW_S)
        newest = recent[-1].at if recent else since
        try:
            found = entries(server, max(since, newest - OVERLAP_S), MOST)
        except ConnectionFailed as error:
            if not away:
                sys.stderr.write(f"xw: {text.clean(str(error))}; waiting for it\n")
            away = True
            continue
        away = False
        yield from (entry for entry in found if entry not in recent)
        recent = found or recent


def _write_plain(entry: AuditEntry) -> None:
    show.line("  ".join(text.clean(cell) for cell in row(entry) if cell))


def _write_json(entry: AuditEntry) -> None:
    """One line each: a list without an end is no JSON value."""
    import msgspec  # noqa: PLC0415

    show.line(msgspec.json.encode(entry).decode())


AUDIT = Command(_configure, _run, "xw admin audit --since 2h\n  xw admin audit -f")
