"""`xw token ...` and `xw admin token ...`: who holds a token, ending them, and new ones for workers to join with."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from xwhep.client import credentials, moments, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import NotFound, UsageError
from xwhep.common.join import JoinLine, normal_address
from xwhep.common.wire import JoinSpec, JoinToken, TokenInfo, User

OWN, EVERYONES = "/v1/tokens", "/v1/tokens?all=1"


def _list(args: Namespace, path: str) -> int:
    with Server(credentials.find()) as server:
        tokens = server.get(path, list[TokenInfo])
    if args.format == "json":
        show.print_json(tokens)
        return 0
    show.print_table(
        ("ID", "KIND", "OF", "MADE", "EXPIRES", "LAST USED"),
        [
            (
                token.id,
                token.kind + (" (this one)" if token.current else ""),
                token.subject,
                text.moment(token.created_at),
                text.moment(token.expires_at),
                text.moment(token.last_used_at),
            )
            for token in tokens
        ],
    )
    return 0


def _configure_revoke(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="the token's id, or its beginning")


def _revoke(args: Namespace, path: str) -> int:
    with Server(credentials.find()) as server:
        tokens = server.get(path, list[TokenInfo])
        chosen = {token.id: token for token in (_one(tokens, typed) for typed in args.ids)}
        for token in sorted(chosen.values(), key=lambda token: token.current):  # ours last, or it would end the others
            server.delete(f"/v1/tokens/{in_path(token.id)}")
            show.line(text.clean(f"{token.id} ({token.kind} of {token.subject}) revoked"))
    return 0


def _one(tokens: Sequence[TokenInfo], typed: str) -> TokenInfo:
    found = [token for token in tokens if token.id == typed]
    found = found or [token for token in tokens if typed and token.id.startswith(typed)]
    if not found:
        raise NotFound(f"there is no token {typed!r}", "xw token list shows yours, xw admin token list everyone's")
    if len(found) > 1:
        raise UsageError(f"{len(found)} tokens begin with {typed}", "type more of the id")
    return found[0]


def _configure_own_join(parser: ArgumentParser) -> None:
    parser.description = "Make a join line for machines of yours: workers that join with it run your jobs only."
    parser.add_argument(
        "--valid", metavar="SPAN", type=moments.span, default=0.0, help="such as 1h (default: for ever)"
    )
    parser.add_argument(
        "--address", metavar="HOST[:PORT]", help="where the worker reaches the server (default: as you do)"
    )
    add_format(parser)


def _configure_join(parser: ArgumentParser) -> None:
    _configure_own_join(parser)
    parser.description = "Make a join line for workers. It is shown once: the server keeps only a hash of it."
    parser.add_argument("--group", metavar="G", help="they run the jobs of this group's members (default: everyone's)")
    parser.add_argument("--private", metavar="LOGIN", help="they belong to this user and run his jobs only")
    parser.add_argument("--replace", action="store_true", help="replace the deployment's own, and end the old one")


def _join(args: Namespace) -> int:
    if bool(args.group) + bool(args.private) + args.replace > 1:
        raise UsageError("--group, --private and --replace exclude each other", "leave all but one of them out")
    if args.replace and args.valid:
        raise UsageError("the deployment's own join token does not expire", "leave --valid out")
    visibility = "group" if args.group else "private" if args.private else "public"
    spec = JoinSpec(
        visibility=visibility,
        owner=args.private or "",
        group=args.group or "",
        valid_s=args.valid,
        replace=args.replace,
    )
    return _make_join(args, lambda _: spec)


def _own_join(args: Namespace) -> int:
    def spec(server: Server) -> JoinSpec:
        return JoinSpec(visibility="private", owner=server.get("/v1/me", User).login, valid_s=args.valid)

    return _make_join(args, spec)


def _make_join(args: Namespace, spec: Callable[[Server], JoinSpec]) -> int:
    from xwhep.common.trust import fingerprint  # noqa: PLC0415 - only here

    chosen = credentials.find()
    address = normal_address(args.address) if args.address else chosen.address
    with Server(chosen) as server:
        made = server.post("/v1/tokens/join", spec(server), JoinToken)
    line = JoinLine(address=address, fingerprint=fingerprint(chosen.authority), token=made.token)
    if args.format == "json":
        show.print_json({**show.whole(made), "join_line": str(line)})
        return 0
    show.line(f"echo '{line}' | xwhep-worker join")
    until = f"until {text.moment(made.expires_at)}" if made.expires_at else "until revoked"
    sys.stderr.write(text.clean(f"token {made.id}, good {until}; it is not shown again") + "\n")
    return 0


LIST = Command(add_format, lambda args: _list(args, OWN), "xw token list")
REVOKE = Command(_configure_revoke, lambda args: _revoke(args, OWN), "xw token revoke 3f9a1c07")
JOIN = Command(_configure_own_join, _own_join, "xw token join --valid 1h")
ADMIN_LIST = Command(add_format, lambda args: _list(args, EVERYONES), "xw admin token list")
ADMIN_REVOKE = Command(_configure_revoke, lambda args: _revoke(args, EVERYONES), "xw admin token revoke 3f9a1c07")
ADMIN_JOIN = Command(_configure_join, _join, "xw admin token join --group lab --valid 7d")
