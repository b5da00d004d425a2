"""Which process runs which file of the tests that make whole clones, and in what order: a plug-in of pytest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from clones import REPOSITORY

SPREAD = {"test_builders.py"}  # its tests share nothing that takes time to make
LONGEST = ("configured", "built", "test_build.py")  # the last takes as long as all others that share such a clone
CLONES = re.compile(r"\b(built|configured): \w+")  # the fixtures that make them, as tests take them


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """With -n 3: a file at a time, but all that need the same clone in one process, which makes it once."""
    return ByClone(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: else one process still has it to do when the others have nothing left."""
    ranks = {path: rank_of(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: ranks[item.path])


def rank_of(path: Path) -> int:
    """What is handed out singly comes last."""
    scope = scope_of(path)
    return LONGEST.index(scope) if scope in LONGEST else len(LONGEST) + (path.name in SPREAD)


def scope_of(path: Path) -> str:
    """The clone that a file's tests share with other files, else its own name."""
    alone = path.name in SPREAD or path.name in LONGEST
    return path.name if alone else min(CLONES.findall(path.read_text(encoding="utf-8")), default=path.name)


class ByClone(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out files; xdist's own groups do not work with this pytest (its node ids cannot be changed)."""

    def _split_scope(self, nodeid: str) -> str:
        path = REPOSITORY / nodeid.partition("::")[0]
        return nodeid if path.name in SPREAD else scope_of(path)
