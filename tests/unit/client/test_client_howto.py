"""docs/howto/administer.md, typed line by line at a real server; and the words of docs/howto/jobs.md."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest

from live_server import LiveServer
from xwhep.client.catalogue import CATALOGUE
from xwhep.client.main import main
from xwhep.client.parser import parse
from xwhep.common import trust
from xwhep.common.join import JoinLine

HOWTO = Path(__file__).parents[3] / "docs" / "howto"
PAGE = HOWTO / "administer.md"


def typed_lines(page):
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


LINES = typed_lines(PAGE)
JOB_LINES = [found[0] for line in typed_lines(HOWTO / "jobs.md") if (found := re.search(r"\bxw [^)]*", line))]


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


@pytest.mark.parametrize("line", JOB_LINES)
def test_the_page_about_jobs_has_words_that_xw_takes(line):
    assert parse(shlex.split(line)[1:]).run


def test_the_page_about_jobs_names_every_command_for_many_of_them():
    named = {" ".join(line.split()[1:3]) for line in JOB_LINES}
    jobs = {entry.words for entry in CATALOGUE if entry.words.startswith("job ")}
    assert jobs - named == set()
