"""What these tests share with ../../integration: whole builds, and their order. No part of the stage network_test."""

from __future__ import annotations

import pytest

import by_clone
import whole_builds


def pytest_configure(config: pytest.Config) -> None:
    for shared in (by_clone, whole_builds):
        if not config.pluginmanager.is_registered(shared):
            config.pluginmanager.register(shared)
