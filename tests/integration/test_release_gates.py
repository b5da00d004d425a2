"""The gates that try the packages in roots of their own, on a whole build; they see what is wrong, too."""

from __future__ import annotations

import os

import pytest

from clones import Clone
from xwhep_packaging import settings
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.gates import autopkgtest, purging
from xwhep_packaging.release.gates.autopkgtest import Trial
from xwhep_packaging.store import Store

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(os.geteuid() != 0, reason="the clone was built by root"),
]


@pytest.fixture
def pipeline(built: Clone) -> Pipeline:
    loaded = settings.load(built.folder / "packaging" / "pipeline.toml")
    return Pipeline(loaded, Store(loaded.store_folder))


def test_packages_are_purged_without_a_trace(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    purging.check(pipeline)
    worse = "rm /etc/motd; chmod 600 /etc/profile; mkdir /opt/left; look after"
    monkeypatch.setattr(purging, "SCRIPT", purging.SCRIPT.replace("look after", worse))
    with pytest.raises(ReleaseError, match="something is left") as caught:
        purging.check(pipeline)
    assert caught.value.cause.splitlines() == ["/etc/motd is gone", "/etc/profile was changed", "/opt/left is left"]


def test_packages_that_do_not_upgrade_are_refused(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        purging, "SCRIPT", purging.SCRIPT.replace("dpkg --remove", "echo a cause; exit 3; dpkg --remove")
    )
    with pytest.raises(ReleaseError, match="cannot be installed, upgraded and purged") as caught:
        purging.check(pipeline)
    assert caught.value.cause.splitlines()[-1] == "a cause"


def test_each_role_alone_and_all_three_linked(pipeline: Pipeline) -> None:
    said: list[str] = []
    autopkgtest.check(pipeline, said.append)
    names = ["server-alone", "worker-alone", "client-alone", "linked"]
    assert said == [f"·  autopkgtest {name}" for name in names]


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("echo bad; exit 3", "the test bad of xwhep fails"),
        ("echo bad >&2", "the test bad of xwhep fails: it writes to standard error"),
        ("[ $(id -u) = 1000 ] && [ ! -e /usr/bin/xw ] && touch $AUTOPKGTEST_TMP/x && echo bad && exit 1", "fails"),
    ],
)
def test_a_test_that_fails_is_named(pipeline: Pipeline, script: str, what: str) -> None:
    test = Trial(name="bad", argv=("sh", "-c", script), packages=("dash",))
    with pytest.raises(ReleaseError, match=what) as caught:
        autopkgtest.run(pipeline, "xwhep", test)
    assert caught.value.cause.splitlines()[-1] == "bad"
    assert caught.value.log is not None


def test_lintian_has_nothing_to_say(pipeline: Pipeline) -> None:
    """All of its checks, every tag; test_debs_lint.py shows that a tag fails."""
    for name in pipeline.settings.sources:
        assert pipeline.make(f"pedantic:{name}").path("lint.txt").read_text() == ""
