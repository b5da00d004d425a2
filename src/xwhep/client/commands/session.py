"""`xw login`, `logout`, `whoami`: who this user is to which server."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from xwhep.client import credentials, show, text
from xwhep.client.connection import Server
from xwhep.client.credentials import Credentials
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import UsageError
from xwhep.common.join import normal_address
from xwhep.common.wire import Login, Session, User

SECRET_LIMIT_BYTES = 64 * 1024


def _configure_login(parser: ArgumentParser) -> None:
    parser.description = (
        "Trust a server and keep a session with it. Without HOST a join line is read from standard input (or --file);\n"
        "with HOST, or where the administrator has set the server for this machine, name and password are asked for.\n"
        "A secret is never taken from the command line, where every user of the machine could see it."
    )
    parser.add_argument("host", metavar="HOST[:PORT]", nargs="?", help="server to log in to by name and password")
    parser.add_argument("--fingerprint", metavar="sha256:...", help="of the server's authority, from its administrator")
    parser.add_argument("--user", metavar="NAME", help="login (default: yours on this machine)")
    parser.add_argument("--file", metavar="FILE", help="file that holds a join line")


def _login(args: Namespace) -> int:
    chosen = _by_password(args) if _wants_password(args) else _by_join_line(args)
    with Server(chosen) as server:
        user = server.get("/v1/me", User)
    path = credentials.save(chosen._replace(login=user.login))
    show.line(text.clean(f"logged in to {chosen.address} as {user.login} ({user.role}); kept in {path}"))
    return 0


def _wants_password(args: Namespace) -> bool:
    if args.file:
        if args.host or args.user or args.fingerprint:
            raise UsageError("--file holds a whole join line: neither HOST, --user nor --fingerprint goes with it")
        return False
    if args.host or args.user:
        return True
    if args.fingerprint:
        raise UsageError("--fingerprint needs a HOST", "xw login HOST --fingerprint sha256:...")
    return sys.stdin.isatty() and bool(credentials.system_settings().address)


def _by_join_line(args: Namespace) -> Credentials:
    remedy = "on the server, run: xwhep-server join-line client"
    if args.file:
        line = credentials.read_secret(Path(args.file), remedy) or ""
    elif sys.stdin.isatty():
        line = getpass.getpass("Join line (what you paste is not shown): ")
    else:
        line = sys.stdin.read(SECRET_LIMIT_BYTES)
    return credentials.from_join_text(line)


def _by_password(args: Namespace) -> Credentials:
    trusted = _trusted(args)
    login = args.user or getpass.getuser()
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {text.clean(login)} at {trusted.address}: ")
    else:
        password = sys.stdin.readline(SECRET_LIMIT_BYTES).rstrip("\r\n")
    if not password:
        raise UsageError("the password is empty", "type it, or give it on standard input")
    with Server(trusted) as server:
        session = server.post("/v1/login", Login(login=login, password=password), Session)
    return trusted._replace(token=session.token, login=session.login)


def _trusted(args: Namespace) -> Credentials:
    """Address and authority, without a token: by fingerprint, else as the administrator or an earlier login set it."""
    if args.host and args.fingerprint:
        address = normal_address(args.host)
        return Credentials(address, credentials.authority_of(address, args.fingerprint.lower()))
    system, earlier = credentials.system_settings(), credentials.saved()
    known = [Credentials(normal_address(system.address), system.authority)] if system.address else []
    known += [Credentials(earlier.address, earlier.authority)] if earlier else []
    wanted = normal_address(args.host) if args.host else ""
    for one in known:
        if one.authority and wanted in ("", one.address):
            return one
    if wanted:
        raise UsageError(
            f"the authority of {wanted} is not known yet",
            "ask its administrator for the fingerprint: xw login HOST --fingerprint sha256:...",
        )
    raise UsageError("no server is known yet", "xw login HOST --fingerprint sha256:... --user NAME")


def _logout(_: Namespace) -> int:
    earlier = credentials.saved()
    if not earlier or not earlier.token:
        show.line("you were not logged in")
        return 0
    credentials.save(earlier._replace(token="", login=""))  # still trusted: logging in again needs no fingerprint
    show.line(text.clean(f"logged out of {earlier.address}"))
    return 0


def _whoami(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        user = server.get("/v1/me", User)
        if args.format == "json":
            show.print_json(user)
        else:
            show.line(text.clean(f"{user.login} ({user.role}) at {server.address}"))
    return 0


LOGIN = Command(
    _configure_login,
    _login,
    "xw login < join-line.txt\n  xw login grid.example.org --fingerprint sha256:9f86... --user bob",
)
LOGOUT = Command(lambda _: None, _logout, "xw logout")
WHOAMI = Command(add_format, _whoami, "xw whoami --format json")
