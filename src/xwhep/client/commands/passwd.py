"""`xw passwd`: one's own password."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from xwhep.client import credentials, passwords, show, text
from xwhep.client.connection import Server
from xwhep.client.parser import Command
from xwhep.common.wire import Ack, PasswordChange, User


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Change your password. Your other sessions end, this one goes on. The old and the new one are asked for,\n"
        "or are the two lines of standard input."
    )


def _run(_: Namespace) -> int:
    chosen = credentials.find()
    with Server(chosen) as server:
        login = text.clean(server.get("/v1/me", User).login)
    old = passwords.current(f"Old password of {login}: ")
    change = PasswordChange(old=old, new=passwords.new("New password: "))
    with Server(chosen) as server:
        server.post("/v1/me/password", change, Ack)
    show.line(f"the password of {login} is changed; other sessions have ended")
    return 0


PASSWD = Command(_configure, _run, "xw passwd")
