"""The names of earlier releases: what they typed then is what `xw` does now."""

import tomllib
from pathlib import Path

import pytest

from xwhep.client import names
from xwhep.common import errors

NAMES = sorted(name for name in vars(names) if name.startswith("xw") and callable(getattr(names, name)))


def test_all_fourteen_are_there_and_installed():
    assert len(NAMES) == 14
    scripts = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name: scripts.get(name) for name in NAMES} == {name: f"xwhep.client.names:{name}" for name in NAMES}


@pytest.fixture
def typed(monkeypatch):
    """Types a name with words; returns the words that `xw` was called with, or the exit code."""

    def type_it(name, *words):
        called = []
        monkeypatch.setattr("sys.argv", [name, *words])
        monkeypatch.setattr(names, "main", lambda argv: called.append(argv) or 0)
        code = getattr(names, name)()
        return called[0] if called else code

    return type_it


@pytest.mark.parametrize("name", NAMES)
def test_each_names_its_equivalent(name, typed, capsys):
    assert typed(name, "--help") == 0
    usage, _, today = capsys.readouterr().out.partition("\n")
    assert usage.startswith(f"usage: {name}")
    assert "Today: xw " in today


@pytest.mark.parametrize(
    ("line", "today"),
    [
        ("xwsendapp ls deployable amd64 linux /bin/ls", "app register --os linux --arch x86_64 ls /bin/ls"),
        ("xwsendapp ls DEPLOYABLE ix86 win32 file:///tmp/x", "app register --os windows --arch i686 ls /tmp/x"),
        ("xwsendapp nb shared any any nbody", "app register nb --shared nbody"),
        ("xwsenddata d f", "data put f --name d"),
        ("xwsenddata d amd64 linux text 0x700 f", "data put f --name d"),
        ("xwapps --xwformat short", "app list --format table"),
        ("xwdatas --xwformat=json", "data list --format json"),
        ("xwworks", "job list"),
        ("xwstatus a b", "job show a b"),
        ("xwresults a", "job results a"),
        ("xwdownload d", "data get d"),
        ("xwworkers", "worker list"),
        ("xwrm a b", "job rm a b"),
        ("xwversion", "version"),
        ("xwexplain a --xwformat json", "job explain a --format json"),
        ("xwchmod 0x755 uid", "chmod 755 any uid"),
        ("xwchmod g+r data d --xwformat json", "chmod --format json g+r data d"),
        ("xwsubmit ls", "job submit ls --"),
        ("xwsubmit ls -l --help /", "job submit ls -- -l --help /"),
        ("xwsubmit --xwlabel L ls -a --xwstdin uid", "job submit --label=L --stdin=uid ls -- -a"),
        ("xwsubmit --xwreplica 3 --xwexpectedhost w ls", "job submit --replicas=3 --worker=w ls --"),
        ("xwsubmit --xwgroup g --xwwallclocktime 60 ls", "job submit --group=g --wall-clock=60 ls --"),
        ("xwsubmit ls --xwenv=uid --xwformat json", "job submit --data=uid --format json ls --"),
    ],
)
def test_earlier_forms(line, today, typed):
    name, *words = line.split()
    assert typed(name, *words) == today.split()


def test_a_file_beside_xwstdin_is_a_file(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("x")
    assert typed("xwsubmit", "ls", "--xwstdin", "in.txt") == ["job", "submit", "--stdin=@in.txt", "ls", "--"]


@pytest.mark.parametrize(
    "line",
    [
        "xwsendapp ls",
        "xwsendapp ls java amd64 linux f",
        "xwsendapp ls deployable amd64 linux http://example.org/f",
        "xwsenddata d",
        "xwsenddata d a b f",
        "xwsubmit",
        "xwsubmit ls --xwmacro 3",
        "xwchmod 755",
        "xwsubmit --xwlabel",
        "xwapps --xwformat html",
        "xwapps --xwformat",
        "xwworks --xwgroup g",
    ],
)
def test_what_is_gone_says_so(line, typed, capsys):
    name, *words = line.split()
    assert typed(name, *words) == errors.UsageError.exit_code
    captured = capsys.readouterr().err
    assert captured.startswith("xw: error [usage]: ")
    assert "\nnext: " in captured


def test_a_session_by_the_earlier_names(xw, grid):
    (xw.folder / "hello.sh").write_text("#!/bin/sh\necho hello\n")
    (xw.folder / "in.txt").write_text("x")
    words = ("hello", "deployable", "amd64", "linux", "hello.sh")
    assert xw(*words, call="names.xwsendapp").code == 0
    assert "linux/x86_64" in xw(call="names.xwapps").out
    sent = xw("input", "amd64", "linux", "text", "0x755", "in.txt", call="names.xwsenddata")
    assert sent.code == 0
    assert "left out" in sent.err
    assert "input" in xw(call="names.xwdatas").out
    job_id = xw("hello", "-l", "--xwstdin", "in.txt", call="names.xwsubmit").out.strip()
    assert grid.jobs[job_id].args == ["-l"]
    grid.finish(job_id, stdout=b"hello\n")
    assert "completed" in xw(job_id, call="names.xwstatus").out
    assert "completed" in xw(call="names.xwworks").out
    assert xw(job_id, call="names.xwresults").code == 0
    assert (xw.folder / f"results-{job_id[:8]}" / "stdout").read_bytes() == b"hello\n"
    assert xw("input", call="names.xwdownload").code == 0
    assert (xw.folder / "input").read_text() == "x"
    assert xw(call="names.xwworkers").code == 0
    assert xw(job_id, call="names.xwrm").code == 0
    assert not grid.jobs
    assert "11.0.0+test" in xw(call="names.xwversion").out
