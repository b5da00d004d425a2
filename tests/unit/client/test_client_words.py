"""What words on the command line mean: local files, beginnings of ids, names that are nearly right, what follows --."""

import pytest

from xwhep.client import lookup, uploads
from xwhep.client.connection import Server
from xwhep.client.credentials import Credentials
from xwhep.client.parser import find_entry, parse
from xwhep.common import errors, wire


@pytest.fixture
def server(grid):
    with Server(Credentials(grid.address, grid.pki.authority, "t0ken-of-alice")) as one:
        yield one


def add_job(grid, job_id):
    grid.jobs[job_id] = wire.Job(
        id=job_id, owner="alice", state=wire.JobState.PENDING, revision=1, created_at=1.0, app="a"
    )


def add_datum(grid, name):
    digest = grid.add_blob(name.encode())
    grid.data[name] = wire.Datum(
        id=f"id-of-{name}", name=name, sha256=digest, size=len(name), owner="alice", created_at=1.0
    )


@pytest.mark.parametrize(
    ("word", "local"),
    [
        ("./f", True),
        ("/f", True),
        ("d/f", True),
        ("@f", True),
        ("-", True),
        ("f", False),
        ("f.csv", False),
        ("-f", False),
    ],
)
def test_which_words_are_local_files(word, local, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("it lies here, and that changes nothing")
    assert uploads.is_local(word) == local


def test_a_whole_id_asks_once(server, grid):
    add_job(grid, "abc123")
    assert lookup.find_job(server, "abc123").id == "abc123"
    assert grid.requests == ["GET /v1/jobs/abc123"]


def test_a_whole_id_wins_over_those_it_begins(server, grid):
    add_job(grid, "abc")
    add_job(grid, "abcdef")
    assert lookup.find_job(server, "abc").id == "abc"
    assert lookup.find_job(server, "abcd").id == "abcdef"


@pytest.mark.parametrize(("typed", "kind"), [("x", errors.NotFound), ("", errors.UsageError), ("a", errors.UsageError)])
def test_what_names_no_single_job(server, grid, typed, kind):
    add_job(grid, "abc")
    add_job(grid, "abd")
    with pytest.raises(kind) as caught:
        lookup.find_job(server, typed)
    assert caught.value.next_step


def test_a_datum_by_name_and_by_id(server, grid):
    add_datum(grid, "in put.csv")
    assert lookup.find_datum(server, "in put.csv") == lookup.find_datum(server, "id-of-in put.csv")


@pytest.mark.parametrize(("typed", "near"), [("input.cvs", "input.csv"), ("inptu.csv", "input.csv")])
def test_a_datum_nearly_right(server, grid, typed, near):
    add_datum(grid, "input.csv")
    add_datum(grid, "unrelated")
    with pytest.raises(errors.NotFound, match="there is no datum") as caught:
        lookup.find_datum(server, typed)
    assert near in caught.value.next_step
    assert "unrelated" not in caught.value.next_step


def test_nothing_near_names_the_list(server, grid):
    with pytest.raises(errors.NotFound) as caught:
        lookup.find_datum(server, "zzz")
    assert caught.value.next_step == "xw data list"


REFUSAL = errors.InvalidRequest("no")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (wire.JobSpec(app="slep"), "there is no app 'slep'"),
        (wire.JobSpec(app="sleep", stdin="nto"), "there is no datum 'nto'"),
        (wire.JobSpec(app="sleep", stdin="note", data=["note", "toe"]), "there is no datum 'toe'"),
        (wire.JobSpec(app="sleep", stdin="id-of-note"), "no"),  # refused for another reason: the server's own words
    ],
    ids=["app", "stdin", "data", "other"],
)
def test_a_refused_job_is_explained(server, grid, spec, said):
    grid.add_app("sleep")
    add_datum(grid, "note")
    assert str(lookup.explain_refused_job(server, spec, REFUSAL)) == said


def test_only_what_is_refused_costs_a_question(server, grid):
    grid.add_app("sleep")
    lookup.find_app(server, "sleep")
    assert grid.requests == ["GET /v1/apps/sleep"]
    with pytest.raises(errors.NotFound, match="'slepe'"):
        lookup.find_app(server, "slepe")


@pytest.mark.parametrize(
    ("words", "app", "args", "rest"),
    [
        (["a"], "a", [], []),
        (["a", "x", "--wait", "y"], "a", ["x", "y"], []),
        (["--wait", "a", "x"], "a", ["x"], []),
        (["a", "--", "--wait"], "a", [], ["--wait"]),
        (["a", "x", "--", "--", "-y"], "a", ["x"], ["--", "-y"]),
        (["a", "--env", "K=V", "--", "z"], "a", [], ["z"]),
    ],
)
def test_arguments_of_a_job(words, app, args, rest):
    typed = parse(["job", "submit", *words]).args
    assert (typed.app, typed.args, typed.rest) == (app, args, rest)


def test_env_takes_several_and_repeats():
    typed = parse(["job", "submit", "a", "--env", "A=1", "B=2", "--env", "C=x=y"]).args
    assert typed.env == ["A=1", "B=2", "C=x=y"]


def test_options_may_stand_between_words():
    typed = parse(["app", "register", "name", "--os", "linux", "file"]).args
    assert (typed.name, typed.files, typed.os) == ("name", ["file"], "linux")


def test_a_file_whose_name_begins_with_a_dash():
    assert parse(["data", "put", "--name", "n", "--", "-odd"]).args.file == "-odd"


def test_a_command_is_its_first_words_only():
    assert find_entry(["job", "list", "version"]).words == "job list"
    with pytest.raises(errors.UsageError, match="there is no command: xw list"):
        find_entry(["list", "job"])
