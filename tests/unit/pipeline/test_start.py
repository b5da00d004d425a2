"""scripts/doit starts what `python -m doit` starts, with less to load."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
START = REPOSITORY / "packaging" / "start.py"
# Each takes a tenth of what a build takes that has nothing to do, or is the sign of something that does.
NOT_LOADED = (
    *("ast", "bdb", "concurrent.futures", "configparser", "dataclasses", "docker", "email.message", "hashlib"),
    *("http.client", "inspect", "lzma", "multiprocessing.process", "pickle", "platform", "random", "tarfile"),
    *("tempfile", "textwrap", "tokenize", "urllib.request", "xml.etree.ElementTree"),
)


def started(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def listed() -> subprocess.CompletedProcess[str]:
    return started("-X", "importtime", str(START), "list", "--all")


def test_it_lists_what_doit_lists(listed: subprocess.CompletedProcess[str]) -> None:
    plain = started("-m", "doit", "list", "--all")
    assert plain.stdout
    assert listed.stdout == plain.stdout


def test_a_list_loads_little(listed: subprocess.CompletedProcess[str]) -> None:
    loaded = re.findall(r"^import time: .*\| +(\S+)$", listed.stderr, re.M)
    assert "doit.doit_cmd" in loaded
    assert [name for name in NOT_LOADED if name in loaded] == []
    makers = (
        "live",
        "terminal",
        "release.making",
        "verify.verdict",
        "stages.debs.by_debian",
        "baking",
        "debcache",
        "engine_http",
    )
    assert [name for name in makers if f"xwhep_packaging.{name}" in loaded] == []


def test_exit_codes_pass() -> None:
    assert started(str(START), "nothing-like-that").returncode == 3
    assert started(str(START), "list").returncode == 0


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("", "written"),
        ("import atexit; atexit.register(lambda: print('at the end'))", "written at the end"),
        ("import threading; threading.Timer(0.3, lambda: print('in a thread')).start()", "written in a thread"),
    ],
)
def test_the_quick_end_cuts_nobody_short(setup: str, said: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(START.parent)!r}); import start; {setup}\nprint('written')\nstart.end(7)"
    )
    done = started("-c", code)
    assert (done.returncode, done.stdout.split()) == (7, said.split())


def test_others_find_the_installed_packages() -> None:
    """doit alone is told that there are none."""
    code = f"""
import sys
sys.path.insert(0, {str(START.parent)!r})
import start
sys.argv = ["doit", "--version"]
assert start.main() == 0
assert "msgspec" in sys.modules and "typing_extensions" not in sys.modules
import hashlib, importlib.metadata, inspect, multiprocessing.pool, pdb, pickle, platform, typing_extensions
print(importlib.metadata.version("doit"), multiprocessing.Process.__name__, pdb.Pdb.__name__)
print(inspect.signature(start.named), hashlib.sha256(b"").name, pickle.loads(pickle.dumps("kept")), platform.system())
"""
    said = started("-c", code).stdout.splitlines()[-2:]
    assert said[0].split()[1:] == ["Process", "Pdb"]
    assert said[1] == "(function: 'Callable[..., object]') -> 'object' sha256 kept Linux"


def test_processes_are_there_for_whoever_asks_for_them(tmp_path: Path) -> None:
    """`-P process`: doit's own way, with the real thing behind the names it was given."""
    (tmp_path / "dodo.py").write_text(
        "import os\nPARENT = int(os.environ['PARENT'])\ndef task_one():\n"
        "    return {'actions': [lambda: print(f'in {os.getpid() != PARENT}')], 'verbosity': 2}\n"
    )
    code = f"""
import os, sys
sys.path.insert(0, {str(START.parent)!r})
import start
os.environ["PARENT"] = str(os.getpid())
sys.argv = ["doit", "-f", {str(tmp_path / "dodo.py")!r}, "-n", "2", "-P", "process", "--db-file", ":memory:"]
sys.exit(start.main())
"""
    done = started("-c", code)
    assert (done.returncode, "in True" in done.stdout) == (0, True), done.stdout + done.stderr
