"""What these tests share with those of ../network/ways: whole builds, and their order."""

from __future__ import annotations

import pytest

import by_clone
import whole_builds


def pytest_configure(config: pytest.Config) -> None:
    for shared in (by_clone, whole_builds):
        if not config.pluginmanager.is_registered(shared):
            config.pluginmanager.register(shared)
