"""docs/howto/administer.md, typed line by line at a real server."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest

from live_server import LiveServer
from xwhep.client.catalogue import CATALOGUE
from xwhep.client.main import main
from xwhep.common import trust
from xwhep.common.join import JoinLine

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "administer.md"
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def live(tmp_path):
    server = LiveServer(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def desk(tmp_path, live, monkeypatch):
    """A folder with the files that the page names, an administrator in it, and a worker called node7."""
    boss = live.admin()
    fingerprint = trust.fingerprint((live.state / "ca.pem").read_text())
    line = JoinLine(address=f"https://localhost:{live.port}", fingerprint=fingerprint, token=boss.token)
    monkeypatch.setenv("XWHEP_JOIN", str(line))
    monkeypatch.setenv("XWHEP_CLIENT_STATE", str(tmp_path / "client"))
    monkeypatch.chdir(tmp_path)
    for name in ("hello.sh", "older.sh"):
        Path(name).write_text(f"#!/bin/sh\necho {name}\n")
    Path("password-of-bob").write_text("the secret of bob\n")
    Path("password-of-bob").chmod(0o600)
    boss.register_app("older", Path("older.sh").read_bytes())
    live.worker("node7").ask()
    return boss


def test_every_line_of_the_page_does_what_it_says(desk, live, monkeypatch, capsys):
    assert len(LINES) > 25
    for line in LINES:
        if " revoke " in line:
            live.login("ann", "a secret of ann")
            (stale,) = [
                one["id"]
                for one in desk.get("/v1/tokens?all=1").body
                if (one["kind"], one["subject"]) == ("session", "ann")
            ]
            line = line.replace("3f9a1c07", stale)  # noqa: PLW2901 - the page names a token that it cannot know
        monkeypatch.setattr("sys.stdin", io.StringIO("a secret of ann\n"))
        code = main(shlex.split(line)[1:])
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert "signed by" in capsys.readouterr().out
    assert {user["login"] for user in desk.get("/v1/users").body} == {"admin", "ann", "bob"}


def test_the_page_names_every_command_of_administrators():
    text = PAGE.read_text("utf-8")
    admins = [entry.words for entry in CATALOGUE if entry.words.startswith("admin ")]
    assert [words for words in admins if f"xw {words}" not in text] == []
