"""What `xw` takes away again, typed at the real server."""

from __future__ import annotations

import pytest

from live_server import LiveServer
from typist import Typist
from xwhep.common.errors import Conflict, NotAllowed, NotFound, UsageError


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    server = LiveServer(tmp_path_factory.mktemp("removal") / "state")
    server.start()
    server.boss = server.admin()
    server.eve = server.user("eve")
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture
def xw(live, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XWHEP_CLIENT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XWHEP_CLIENT_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.chdir(tmp_path)
    return Typist(live, monkeypatch, capsys)


@pytest.fixture
def app(xw, request):
    """An app of this test's own."""
    name = request.node.name.replace("[", "-").rstrip("]")
    xw("app", "register", name, "--shared", name)
    return name


def test_an_app_is_removed_when_its_jobs_have_ended(xw, live, app):
    job = xw("job", "submit", app).strip()
    code, _, err = xw.type("app", "rm", app)
    assert code == Conflict.exit_code
    assert f"one job that has not ended needs the app {app}" in err
    assert "xw job cancel" in err
    xw("job", "cancel", job)
    assert xw.type("app", "rm", app, api=live.eve)[0] == NotAllowed.exit_code
    assert xw("app", "rm", app) == f"{app} removed\n"
    code, _, err = xw.type("app", "rm", app)
    assert (code, "there is no app" in err) == (NotFound.exit_code, True)
    assert xw.json("job", "show", job)["app"] == app


@pytest.mark.parametrize("option", ["--group", "--session"])
def test_jobs_are_removed_together(xw, app, option):
    ids = [xw("job", "submit", app, option, "night").strip() for _ in range(2)]
    alone = xw("job", "submit", app).strip()
    code, out, err = xw.type("job", "rm", option, "night")
    assert (code, out) == (Conflict.exit_code, "")
    assert "2 of 2 jobs have not ended" in err
    xw("job", "cancel", *ids, alone)
    assert xw("job", "rm", option, "night") == "".join(f"{one} removed\n" for one in ids)
    assert [job["id"] for job in xw.json("job", "list")][:1] == [alone]
    assert xw.type("job", "rm", alone, option, "night")[0] == UsageError.exit_code
    assert xw("job", "rm", alone) == f"{alone} removed\n"


def test_data_are_removed_by_name_and_id(xw, live, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    xw("data", "put", "a")
    other = xw.json("data", "put", "b")["id"]
    assert xw.type("data", "rm", other, api=live.eve)[0] == NotFound.exit_code
    assert xw("data", "rm", "a", other) == f"a removed\n{other} removed\n"
    assert xw.json("data", "list") == []
    assert xw.type("data", "rm", "a")[0] == NotFound.exit_code


def test_files_of_jobs_do_not_fill_the_list(xw, app, tmp_path):
    (tmp_path / "file").write_text("of a job")
    xw("job", "submit", app, "--stdin", "./file")
    assert xw.json("data", "list") == []
    (hidden,) = xw.json("data", "list", "--all")
    assert hidden["name"].startswith("content-")
    xw("data", "put", "file", "--name", hidden["name"])
    assert [one["id"] for one in xw.json("data", "list")] == [hidden["id"]]
