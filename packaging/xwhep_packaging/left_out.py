"""A plug-in that pytest is given for the network test: what the engine cannot give is left out, and listed.

@pytest.mark.needs("network") on a test, XWHEP_TEST_LACKS=network,proc from the stage ──> left_out.json
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FILE = "left_out.json"  # the stage reads it


def pytest_configure(config: Any) -> None:
    config.addinivalue_line("markers", "needs(power): runs only where a container has it")


@pytest.hookimpl(trylast=True)  # what was not chosen in the first place is not left out
def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    lacks = set(os.environ["XWHEP_TEST_LACKS"].split(","))
    missing = {item: sorted(_needs(item) & lacks) for item in items}
    left_out = [item for item in items if missing[item]]
    items[:] = [item for item in items if not missing[item]]
    config.hook.pytest_deselected(items=left_out)
    rows = {f"{item.path.stem}::{item.name}": missing[item] for item in left_out}
    Path(os.environ["XWHEP_TEST_OUTPUT"], FILE).write_text(json.dumps(rows, indent=1, sort_keys=True))


def _needs(item: Any) -> set[str]:
    return {power for marker in item.iter_markers("needs") for power in marker.args}
