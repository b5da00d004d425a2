"""The command xwhep-server: reads what was typed, and is the one place where failures become exit codes."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from xwhep.common.errors import InvalidRequest, UsageError, XwhepError
from xwhep.common.join import JoinLine, normal_address
from xwhep.common.trust import fingerprint
from xwhep.common.version import VERSION
from xwhep.server import backup_commands
from xwhep.server.authority import recorded_names
from xwhep.server.checks import LOGIN
from xwhep.server.deployment import read_deployment
from xwhep.server.identity import MAX_PASSWORD, MIN_PASSWORD, USER_TOKEN, hash_password, new_token, token_hash
from xwhep.server.machine_names import names_of_this_machine
from xwhep.server.private_files import refuse_exposed
from xwhep.server.settings import Settings, add_flags, load_settings
from xwhep.server.state import StateFolder, explained
from xwhep.server.store.identity_records import Act
from xwhep.server.store.records import Account
from xwhep.server.store.sqlite_database import transaction
from xwhep.server.store.sqlite_identity import note
from xwhep.server.store.sqlite_people import add_session, add_user, find_account, list_users

INTERRUPTED = 130
CONSOLE = "console"  # who acts, in the audit log: whoever may read the state folder
STATE_FLAGS = frozenset({"state"})
JOIN_FLAGS = frozenset({"state", "deployment", "name", "listen", "session_hours"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, or that of the error's class."""
    arguments = build_parser().parse_args(argv)
    try:
        settings = load_settings(vars(arguments), os.environ)
        code: int = arguments.command(settings, arguments)
    except XwhepError as error:
        print(f"xwhep-server: {error}", file=sys.stderr)  # noqa: T201
        if error.next_step:
            print(f"  {error.next_step}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its exit
        return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xwhep-server", description="The server of a volunteer computing grid.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until stopped", description="Serve until SIGTERM or Ctrl-C.")
    add_flags(run)
    run.set_defaults(command=_run)
    _add_join_line(commands)
    _add_user(commands)
    _add_rotate(commands)
    backup_commands.add_commands(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _add_join_line(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    join = commands.add_parser(
        "join-line",
        help="print the line that connects a worker or client",
        description="Print one line of shell to paste on another machine. It holds a secret: paste it, do not mail it.",
    )
    join.add_argument("role", choices=("worker", "client"))
    join.add_argument("--address", metavar="HOST[:PORT]", help="where that machine reaches this server")
    add_flags(join, JOIN_FLAGS)
    join.set_defaults(command=_join_line)


def _add_user(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    user = commands.add_parser("user", help="add or list users")
    actions = user.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser(
        "add", help="make a user", description="Make a user; the password is the first line of standard input."
    )
    add.add_argument("login", metavar="NAME")
    add.add_argument("--admin", action="store_true", help="may see and change everything")
    add_flags(add, STATE_FLAGS)
    add.set_defaults(command=_add_user_command)
    listing = actions.add_parser("list", help="list users")
    add_flags(listing, STATE_FLAGS)
    listing.set_defaults(command=_list_users)


def _add_rotate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rotate = commands.add_parser("rotate", help="replace the server's certificate")
    things = rotate.add_subparsers(required=True, metavar="WHAT")
    certificate = things.add_parser(
        "certificate",
        help="a new key and certificate from the same authority",
        description="Make a new key and certificate, signed by the same authority. A running server takes it within a "
        "second; workers and clients need nothing.",
    )
    add_flags(certificate, frozenset({"state", "deployment", "name"}))
    certificate.set_defaults(command=_rotate_certificate)


def _rotate_certificate(settings: Settings, arguments: argparse.Namespace) -> int:
    from xwhep.server import signing  # noqa: PLC0415 - the other commands start faster without it

    folder = _folder(settings)
    if not folder.owns_authority:
        raise UsageError(
            f"the certificate is the deployment's, in {settings.deployment}",
            "renew it with the deployment, and install its new xwhep-server-conf",
        )
    with explained(settings.state):
        refuse_exposed(folder.path, folder.secrets())
        names = names_of_this_machine(settings.name) | recorded_names(folder.authority)
        signing.issue(folder.authority, names)
        with transaction(_existing_database(folder)) as tx:
            note(tx, Act(who=CONSOLE, act="certificate rotate", subject=folder.authority.server_pem.name))
    print(f"new certificate for {', '.join(sorted(names))}")  # noqa: T201
    return 0


def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    from xwhep.server.serving import run_server  # noqa: PLC0415 - the other commands start faster without it

    return run_server(settings)


def _version(settings: Settings, arguments: argparse.Namespace) -> int:
    print(f"xwhep-server {VERSION}")  # noqa: T201
    return 0


def _join_line(settings: Settings, arguments: argparse.Namespace) -> int:
    folder = _folder(settings)
    address = normal_address(arguments.address or _default_address(settings))
    with explained(settings.state):
        pem = folder.authority.ca_pem.read_text("ascii")
    if arguments.role == "worker":
        token, receiver = _worker_token(folder), "xwhep-worker join"
    else:
        token, receiver = _client_token(folder, settings), "xw login"
    line = JoinLine(address=address, fingerprint=fingerprint(pem), token=token)
    print(f"echo '{line}' | {receiver}")  # noqa: T201
    return 0


def _folder(settings: Settings) -> StateFolder:
    return StateFolder(path=settings.state, deployment=read_deployment(settings.deployment))


def _worker_token(folder: StateFolder) -> str:
    """The deployment's, by which its packaged workers join too; else the one of the first start."""
    line = folder.deployment.worker_line if folder.deployment else None
    return line.token if line else folder.read_secret(folder.join_token)


def _default_address(settings: Settings) -> str:
    host = settings.name[0] if settings.name else socket.gethostname()
    return f"[{host}]:{settings.listen[1]}" if ":" in host else f"{host}:{settings.listen[1]}"


def _client_token(folder: StateFolder, settings: Settings) -> str:
    """A session of the administrator, made beside the running server; only its hash is stored."""
    token, admin = new_token(USER_TOKEN), folder.admin
    with explained(settings.state), transaction(_existing_database(folder)) as tx:
        if find_account(tx, admin) is None:
            raise UsageError(f"there is no user {admin} in {folder.path}", "run: xwhep-server user list")
        note(tx, Act(who=CONSOLE, act="client token", subject=admin))
        add_session(tx, (token_hash(token), admin, time.time() + settings.session_hours * 3600))
    return token


def _existing_database(folder: StateFolder) -> Path:
    folder.database.stat()  # SQLite would make an empty one
    return folder.database


def _add_user_command(settings: Settings, arguments: argparse.Namespace) -> int:
    folder = StateFolder(path=settings.state)
    if not LOGIN.fullmatch(arguments.login):
        raise UsageError(f"{arguments.login!r} cannot be a login", "use letters, digits and . _ @ + -, 64 at most")
    password = _read_password()
    account = Account(
        login=arguments.login, role="admin" if arguments.admin else "user", password_hash=hash_password(password)
    )
    with explained(settings.state), transaction(_existing_database(folder)) as tx:
        add_user(tx, account)
        note(tx, Act(who=CONSOLE, act="user add", subject=account.login, detail=f"role {account.role}"))
    print(f"made {account.role} {account.login}")  # noqa: T201
    return 0


def _read_password() -> str:
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidRequest(
            f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters", "give it as the first line of standard input"
        )
    return password


def _list_users(settings: Settings, arguments: argparse.Namespace) -> int:
    folder = StateFolder(path=settings.state)
    with explained(settings.state), transaction(_existing_database(folder)) as tx:
        users = list_users(tx)
    for user in users:  # after the transaction: a slow reader of our output must not hold the database
        print(f"{user.login}\t{user.role}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
