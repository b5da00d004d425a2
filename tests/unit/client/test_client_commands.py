"""The words of `xw`: help, mistakes, exit codes, start-up cost, and output that cannot be turned against its reader."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from xwhep.client.catalogue import CATALOGUE, groups
from xwhep.client.main import local_failure, main
from xwhep.client.parser import build, load
from xwhep.common import errors, wire

HEAVY = {"msgspec", "ssl", "http.client", "email", "hashlib", "json", "tempfile", "dataclasses", "asyncio", "urllib3"}
NEVER = {"asyncio", "urllib3", "cryptography", "starlette", "uvicorn", "argon2", "pkg_resources", "email"}
NEVER |= {"http.client"}  # and what only it needs
COMMANDS = pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.words.replace(" ", "-"))


@COMMANDS
def test_every_command_helps_with_an_example_that_parses(entry, capsys):
    assert main([*entry.words.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: xw {entry.words}")
    command = load(entry)
    for line in text.partition("example:\n")[2].splitlines():
        words = shlex.split(line.split(" > ")[0].split(" < ")[0])
        assert words[: 1 + len(entry.words.split())] == ["xw", *entry.words.split()]
        own = words[1 + len(entry.words.split()) :]
        cut = own.index("--") if command.takes_rest and "--" in own else len(own)
        build(entry, command).parse_intermixed_args(own[:cut])


@COMMANDS
def test_what_prints_a_record_prints_json_too(entry, capsys):
    main([*entry.words.split(), "--help"])
    plain = {"login", "logout", "completion", "data get", "job cancel", "job rm", "job logs"}
    plain |= {"app rm", "data rm", "passwd", "token revoke", "admin token revoke"}
    assert ("--format {table,json}" in capsys.readouterr().out) == (entry.words not in plain)


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"xw {entry.words} " in listed for entry in CATALOGUE)
    for group in groups():
        assert main([*group.split(), "--help"]) == 0
        assert capsys.readouterr().out.count("\n  xw ") == sum(e.words.startswith(group + " ") for e in CATALOGUE)
        assert main(group.split()) == errors.UsageError.exit_code
        assert capsys.readouterr().out == ""
    assert main([]) == errors.UsageError.exit_code
    assert capsys.readouterr().err == listed


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["jbo", "list"], "xw"),
        (["job", "sumbit"], "xw job submit"),
        (["admin", "user", "dissable", "ann"], "xw admin user disable"),
        (["admin", "usr", "list"], "xw admin user list"),
        (["admin", "user", "change", "ann"], "xw admin user change --help"),
        (["admin", "user", "change", "ann", "--group", "g", "--no-groups"], "leave one of them out"),
        (["admin", "token", "join", "--group", "g", "--private", "ann"], "leave all but one of them out"),
        (["admin", "token", "join", "--replace", "--valid", "1h"], "leave --valid out"),
        (["admin", "token", "join", "--valid", "soon"], "xw admin token join --help"),
        (["admin", "worker", "set", "w"], "--visibility"),
        (["admin", "audit", "--since", "yesterday"], "xw admin audit --help"),
        (["admin", "audit", "--limit", "0"], "xw admin audit --help"),
        (["app", "sign", "a", "f"], "xw app sign --help"),
        (["app", "register", "a", "--shared", "s", "--sign", "k"], "leave --sign out"),
        (["apps"], "xw"),
        (["wohami"], "xw whoami"),
        (["job", "submit"], "xw job submit --help"),
        (["job", "list", "--limit", "0"], "xw job list --help"),
        (["job", "list", "--limit", "many"], "xw job list --help"),
        (["job", "list", "--state", "odd"], "xw job list --help"),
        (["job", "wait", "x", "--timeout", "-1"], "xw job wait --help"),
        (["job", "wait", "x", "--timeout", "nan"], "xw job wait --help"),
        (["job", "submit", "a", "--output", "d"], "xw job results"),
        (["job", "submit", "a", "--ram", "much"], "xw job submit --help"),
        (["job", "submit", "a", "--disk", "1X"], "xw job submit --help"),
        (["job", "submit", "a", "--cpus", "0"], "xw job submit --help"),
        (["job", "submit", "a", "--priority", "101"], "xw job submit --help"),
        (["job", "submit", "a", "--attempts", "0"], "xw job submit --help"),
        (["job", "submit", "a", "--replicas", "65"], "xw job submit --help"),
        (["job", "submit", "a", "--quorum", "2"], "--replicas"),
        (["job", "submit", "a", "--deadline", "2020-01-01"], "xw job submit --help"),
        (["job", "submit", "a", "--deadline", "+99999999999999d"], "xw job submit --help"),
        (["job", "submit", "a", "--deadline", "soon"], "xw job submit --help"),
        (["job", "submit", "a", "--wall-clock", "-1"], "xw job submit --help"),
        (["job", "submit", "a", "--wall-clock", "99999999999999"], "xw job submit --help"),
        (["job", "submit", "a", "--wall-clock", "0"], "xw job submit --help"),
        (["job", "submit", "a", "--mode", "u=z"], "xw job submit --help"),
        (["job", "submit", "a", "--need-label", "a b"], "xw job submit --help"),
        (["job", "submit", "a", "--worker-group", "../g"], "xw job submit --help"),
        (["job", "submit", "a", "--group", "\t"], "xw job submit --help"),
        (["job", "wait"], "xw job list"),
        (["job", "wait", "x", "--group", "g"], "xw job list"),
        (["job", "cancel", "--session", "s", "--group", "g"], "xw job list"),
        (["job", "results"], "xw job list"),
        (["job", "sweep", "a"], "xw job sweep --help"),
        (["chmod", "999", "job", "x"], "xw chmod --help"),
        (["chmod", "u=q", "job", "x"], "xw chmod --help"),
        (["chmod", "7777", "job", "x"], "xw chmod --help"),
        (["chmod", "700", "worker", "x"], "xw chmod --help"),
        (["chmod", "700", "job", "x", "--group", "a b"], "xw chmod --help"),
        (["app", "register", "a"], "xw app register --help"),
        (["app", "register", "a", "f", "--shared", "s"], "xw app register --help"),
        (["app", "register", "a", "--shared", "s", "--os", "linux"], "xw app register --help"),
        (
            ["app", "list", "--form", "json"],
            "xw app list --help",
        ),  # no abbreviations: they would break when options grow
        (["app", "list", "--", "x"], "xw app list --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_error_and_one_next_step(words, hint, capsys):
    assert main(words) == errors.UsageError.exit_code
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith("xw: error [usage]: ")
    assert second.startswith("next: ")
    assert hint in second
    assert captured.out == ""


def modules_after(words, tmp_path):
    program = (
        "import sys; from xwhep.client.main import main; main(sys.argv[1:]); sys.stdout.flush();"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, *words],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["version", "--client"], ["--help"], ["job", "--help"], ["nonsense"]])
def test_what_asks_no_server_loads_nothing_heavy(words, tmp_path):
    loaded = modules_after(words, tmp_path)
    assert not loaded & HEAVY
    assert "xwhep.client.main" in loaded


def test_what_asks_a_server_loads_only_what_it_needs(xw, grid, tmp_path):
    loaded = modules_after(["job", "list"], tmp_path)
    assert "msgspec" in loaded
    assert not loaded & NEVER


@pytest.mark.parametrize("kind", errors.ALL_ERRORS, ids=lambda kind: kind.code)
def test_the_servers_error_becomes_ours_with_its_exit_code(xw, grid, kind):
    body = wire.ErrorBody(code=kind.code, message="it is so", next_step="do that")
    grid.overrides["GET /v1/apps"] = (kind.status, msgspec.json.encode(body))
    done = xw("app", "list")
    assert done.code == kind.exit_code
    assert done.err == f"xw: error [{kind.code}]: it is so\nnext: do that\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, b"<html>"), errors.ServerFailed),
        ((200, b'{"not": "a list"}'), errors.ServerFailed),
        ((200, b""), errors.ServerFailed),
        ((200, b'[{"id": "\\ud800"}]'), errors.ServerFailed),
        ((302, b""), errors.ServerFailed),
        ((500, b"oops"), errors.ServerFailed),
        ((502, b"<html>"), errors.ConnectionFailed),
        ((401, b""), errors.AuthenticationFailed),
        ((404, b"nothing"), errors.NotFound),
    ],
)
def test_an_answer_that_is_not_the_grids(xw, grid, answer, kind):
    grid.overrides["GET /v1/apps"] = answer
    done = xw("app", "list")
    assert done.code == kind.exit_code
    assert len(done.err.splitlines()) == 2
    assert "Traceback" not in done.err


def test_names_from_the_server_cannot_drive_the_terminal(xw, grid):
    evil = "\x1b]0;owned\x07\x1b[2Jx\r\n\u202eabc\x9b"
    grid.apps[evil] = wire.App(id="i" + evil, name=evil, owner=evil, created_at=1e300, shared=evil, workers=[evil])
    machine = wire.Machine(
        os=evil, arch=evil, cpu_count=1, cpu_model=evil, ram_bytes=1, disk_free_bytes=1, version=evil, isolation=evil
    )
    grid.workers.append(wire.Worker(id="w", name=evil, machine=machine, state=evil, last_seen_at=-1.0))
    outputs = [xw("app", "list").out, xw("worker", "list").out]
    body = wire.ErrorBody(code="conflict", message=evil, next_step=evil)
    grid.overrides["GET /v1/data"] = (409, msgspec.json.encode(body))
    outputs.append(xw("data", "list").err)
    for output in outputs:
        assert "owned" in output
        assert all(char.isprintable() or char == "\n" for char in output)
        assert len(output.splitlines()) == 2
    listed = xw("app", "list", "--format", "json")
    assert listed.raw.isascii()
    assert json.loads(listed.out)[0]["name"] == evil


def test_a_reader_that_goes_away_is_no_error(xw, grid):
    for number in range(3000):
        grid.add_app(f"app-{number}")
    process = xw.start("app", "list")
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == b""


def test_a_full_disk_behind_stdout_is_said(xw):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from xwhep.client.main import main; sys.exit(main())", "--help"],
            env=xw.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == errors.DiskFull.exit_code
    assert done.stderr.startswith(b"xw: error [disk_full]: no room left")


def test_a_full_disk_behind_a_download_is_said(xw, grid, monkeypatch, capsys):
    digest = grid.add_blob(b"x")
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=1, owner="a", created_at=1.0)

    def full(_):
        raise OSError(28, "No space left on device", "b")

    for name, value in xw.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(xw.folder)
    monkeypatch.setattr(os, "fsync", full)
    assert main(["data", "get", "b"]) == errors.DiskFull.exit_code
    assert "no room left on this machine for b" in capsys.readouterr().err
    assert not (xw.folder / "b").exists()


def test_failures_of_this_machine_have_a_cause():
    assert isinstance(local_failure(OSError(122, "Disk quota exceeded")), errors.DiskFull)
    assert str(local_failure(PermissionError(13, "Permission denied", "f"))) == "cannot use f: Permission denied"


def test_a_bug_is_called_one(xw, grid, monkeypatch, capsys):
    monkeypatch.setattr("xwhep.client.parser.parse", lambda argv: 1 / 0)
    assert main(["job", "list"]) == 1
    assert "this is a bug: ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xw j", ["job"]),
        ("xw job re", ["results"]),
        ("xw job e", ["explain"]),
        ("xw chm", ["chmod"]),
        ("xw job submit a --wor", ["--worker-group", "--worker"]),
        ("xw job sweep a --d", ["--data", "--disk", "--deadline", "--dry-run"]),
        ("xw job submit a --wai", ["--wait"]),
        ("xw version --cl", ["--client"]),
        ("xw job submit app arg --lab", ["--label"]),
        ("xw admin u", ["user"]),
        ("xw admin user ad", ["add"]),
        ("xw admin user add ann --pass", ["--password-file"]),
        ("xw admin status --f", ["--format"]),
    ],
)
def test_bash_completes(capsys, line, expected):
    assert main(["completion", "bash"]) == 0
    words = line.split()
    script = (
        capsys.readouterr().out
        + f"""
    COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _xw; printf '%s\\n' "${{COMPREPLY[@]}}" """
    )
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(entry.words.split()[-1] in script for entry in CATALOGUE)
