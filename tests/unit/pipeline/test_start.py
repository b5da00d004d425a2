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
NOT_LOADED = ("bdb", "concurrent.futures", "docker", "email.message", "http.client", "tarfile", "urllib.request")


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
    makers = ("release.making", "verify.verdict", "stages.debs.by_debian", "baking", "debcache", "engine_http")
    assert [name for name in makers if f"xwhep_packaging.{name}" in loaded] == []


def test_exit_codes_pass() -> None:
    assert started(str(START), "nothing-like-that").returncode == 3
    assert started(str(START), "list").returncode == 0


def test_others_find_the_installed_packages() -> None:
    """doit alone is told that there are none."""
    code = f"""
import sys
sys.path.insert(0, {str(START.parent)!r})
import start
sys.argv = ["doit", "--version"]
assert start.main() == 0
import importlib.metadata, pdb
print(importlib.metadata.version("doit"), pdb.Pdb.__name__)
"""
    assert started("-c", code).stdout.split()[-1] == "Pdb"
