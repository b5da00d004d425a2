"""A chroot that stands on the shared one, and an image's extra packages: only mmdebstrap itself may call apt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base

MORE = base.Additions(packages=("cmake",), clauses=("zlib1g-dev (>= 1:1.2)", "aa | bb"))
CALLS = re.compile(r"(?:^|[\s;&|=(])(?:/\S*/)?(?:apt(?:-get)?|dpkg)\s|APT_CONFIG")


@pytest.fixture
def derived(settings: Settings) -> list[str]:
    return base.derived_command(settings, Path("/store/a b/root.tar"), [Path("/r"), Path("/m")], Path("/out.tar"))


@pytest.fixture
def commands(settings: Settings, derived: list[str]) -> list[list[str]]:
    return [derived, base.mmdebstrap_command(settings, settings.base, Path("/r"), Path("/out.tar"))]


def test_no_hook_installs_anything(commands: list[list[str]]) -> None:
    """apt or dpkg in a hook, without the right options, works on the machine that builds: it did once."""
    hooks = [word for command in commands for word in command if "-hook=" in word]
    assert hooks
    assert [hook for hook in hooks if CALLS.search(hook)] == []
    assert CALLS.search('--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes satisfy "a"')
    assert CALLS.search("--setup-hook=dpkg --install a.deb")


def test_shared_root_is_unpacked_whatever_its_path(derived: list[str]) -> None:
    assert """--setup-hook=tar -C "$1" -xf '/store/a b/root.tar'""" in derived


def test_only_closed_repositories_are_named(commands: list[list[str]]) -> None:
    for words in commands:
        assert {word.split()[2] for word in words if word.startswith("deb ")} <= {"copy:/r", "copy:/m"}


def test_apt_is_asked_for_all_of_it_at_once() -> None:
    text = base.metapackage_control(MORE)
    assert "\nDepends: cmake, zlib1g-dev (>= 1:1.2), aa | bb\n" in text


def test_key_follows_what_is_needed_and_nothing_else() -> None:
    key = base.derived_recipe("shared", MORE, "debs").key
    same = base.Additions(packages=MORE.packages, clauses=MORE.clauses)
    assert key == base.derived_recipe("shared", same, "debs").key
    assert key != base.derived_recipe("shared", base.Additions(packages=("cmake",)), "debs").key
    assert key != base.derived_recipe("shared", MORE, "other debs").key
    assert key != base.derived_recipe("other", MORE, "debs").key
    assert not base.Additions().any
