"""`xw admin user ...`: who may use the grid, and as what."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client import credentials, passwords, show, text
from xwhep.client.connection import Server, in_path
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import UsageError
from xwhep.common.wire import User, UserChange, UserSpec

ROLES = ("user", "admin")


def _add_login(parser: ArgumentParser) -> None:
    parser.add_argument("login", metavar="LOGIN", help="the user's name")


def _configure_add(parser: ArgumentParser) -> None:
    _add_login(parser)
    parser.add_argument("--role", choices=ROLES, default="user", help="an admin sees and changes everything")
    parser.add_argument("--group", metavar="G", nargs="+", action="extend", default=[], help="groups to be in")
    passwords.add_file_option(parser)
    add_format(parser)


def _add(args: Namespace) -> int:
    chosen = credentials.find()
    password = passwords.new(f"Password of the new user {text.clean(args.login)}: ", args.password_file)
    with Server(chosen) as server:
        spec = UserSpec(login=args.login, password=password, role=args.role, groups=args.group)
        _print(server.post("/v1/users", spec, User), args.format)
    return 0


def _configure_change(parser: ArgumentParser) -> None:
    _add_login(parser)
    parser.add_argument("--role", choices=ROLES, help="an admin sees and changes everything")
    parser.add_argument("--group", metavar="G", nargs="+", action="extend", help="all the groups to be in from now on")
    parser.add_argument("--no-groups", action="store_true", help="leave every group")
    parser.add_argument("--password", action="store_true", help="ask for a new one, or read it from standard input")
    passwords.add_file_option(parser)
    add_format(parser)


def _change(args: Namespace) -> int:
    wants_password = args.password or bool(args.password_file)
    if args.group and args.no_groups:
        raise UsageError("--group and --no-groups exclude each other", "leave one of them out")
    if not (args.role or args.group or args.no_groups or wants_password):
        raise UsageError("nothing is to be changed", "xw admin user change --help")
    chosen = credentials.find()
    prompt = f"New password of {text.clean(args.login)}: "
    change = UserChange(
        role=args.role,
        groups=[] if args.no_groups else args.group,
        password=passwords.new(prompt, args.password_file) if wants_password else None,
    )
    with Server(chosen) as server:
        _print(_changed(server, args.login, change), args.format)
    return 0


def _changed(server: Server, login: str, change: UserChange) -> User:
    return server.post(f"/v1/users/{in_path(login)}", change, User)


def _configure_switch(parser: ArgumentParser) -> None:
    _add_login(parser)
    add_format(parser)


def _switch(args: Namespace, active: bool) -> int:
    with Server(credentials.find()) as server:
        _print(_changed(server, args.login, UserChange(active=active)), args.format)
    return 0


def _print(user: User, form: str) -> None:
    if form == "json":
        show.print_json(user)
        return
    groups = f", in {' '.join(user.groups)}" if user.groups else ""
    show.line(text.clean(f"{user.login} ({user.role}{'' if user.active else ', disabled'}){groups}"))


def _list(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        users = server.get("/v1/users", list[User])
    if args.format == "json":
        show.print_json(users)
        return 0
    show.print_table(
        ("LOGIN", "ROLE", "MAY LOG IN", "GROUPS"),
        [
            (user.login, user.role, "yes" if user.active else "no", " ".join(user.groups))
            for user in sorted(users, key=lambda user: user.login)
        ],
    )
    return 0


LIST = Command(add_format, _list, "xw admin user list")
ADD = Command(
    _configure_add, _add, "xw admin user add ann --group lab\n  xw admin user add bob --password-file ./password-of-bob"
)
CHANGE = Command(_configure_change, _change, "xw admin user change ann --role admin")
DISABLE = Command(_configure_switch, lambda args: _switch(args, active=False), "xw admin user disable ann")
ENABLE = Command(_configure_switch, lambda args: _switch(args, active=True), "xw admin user enable ann")
