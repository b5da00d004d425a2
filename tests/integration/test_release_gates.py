"""The gates that try the packages in roots of their own, on a whole build; they see what is wrong, too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clones import REPOSITORY, Clone
from spoiled import does_more_at_install, says_too_little, spoiled
from xwhep_packaging import settings
from xwhep_packaging.artefacts import FileRecord, Manifest, Output
from xwhep_packaging.errors import LintError, ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.gates import autopkgtest, purging
from xwhep_packaging.release.gates.autopkgtest import Trial
from xwhep_packaging.stages.debs.lint import STRICT, make_lint
from xwhep_packaging.store import Draft, Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the clone was built by root")
TRIALS = {test.name: test for test in autopkgtest.read_tests((REPOSITORY / autopkgtest.CONTROL).read_text(), ())}
EPOCH = 1_800_000_000
SMALL = "pi-montecarlo"  # lintian needs seconds for it


@pytest.fixture(scope="session")
def pipeline(built: Clone) -> Pipeline:
    loaded = settings.load(built.folder / "packaging" / "pipeline.toml")
    return Pipeline(loaded, Store(loaded.store_folder))


# Purge


def test_packages_are_purged_without_a_trace(built: Clone) -> None:
    """As a task of its own; the verdict is kept."""
    first, again = built.doit("release:purge"), built.doit("release:purge")
    assert "✓  purge: server, worker, client" in first
    assert "✓  purge: server, worker, client" in again
    assert ["·  purge\n" in said for said in (first, again)] == [True, False]


@pytest.fixture
def spoil_server(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Its package, as the gate tries it, runs a line more."""
    prepare = purging._prepare

    def spoil(line: str) -> None:
        def prepared(pipeline: Pipeline, image: str, folder: Path, log: Path) -> list[str]:
            names = prepare(pipeline, image, folder, log)
            spoiled(next((folder / "now").glob("xwhep-server_*.deb")), does_more_at_install(line))
            return names

        monkeypatch.setattr(purging, "_prepare", prepared)

    return spoil


def test_what_a_package_leaves_is_named(pipeline: Pipeline, spoil_server: Callable[[str], None]) -> None:
    spoil_server("rm /etc/motd; chmod 600 /etc/profile; mkdir /opt/left")
    with pytest.raises(ReleaseError, match="packages of the server image are purged, and something is left") as caught:
        purging.check(pipeline)
    assert caught.value.cause.splitlines() == ["/etc/motd is gone", "/etc/profile was changed", "/opt/left is left"]


def test_packages_that_do_not_upgrade_are_refused(pipeline: Pipeline, spoil_server: Callable[[str], None]) -> None:
    spoil_server('[ "$1 $2" != "configure 0~earlier" ] || exit 3')
    with pytest.raises(ReleaseError, match="server image cannot be installed, upgraded and purged") as caught:
        purging.check(pipeline)
    assert "xwhep-server" in caught.value.cause


# autopkgtest


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("server-alone", marks=pytest.mark.nightly),
        pytest.param("worker-alone", marks=pytest.mark.nightly),
        pytest.param("client-alone", marks=pytest.mark.nightly),
        "linked",
    ],
)
def test_a_role_alone_and_all_three_linked(pipeline: Pipeline, name: str) -> None:
    autopkgtest.run(pipeline, "xwhep", TRIALS[name])


@pytest.fixture(scope="session")
def clients_root(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the client's own test is given, and nothing more."""
    folder = tmp_path_factory.mktemp("client")
    return autopkgtest._root(pipeline, TRIALS["client-alone"], folder, folder / "log")


@pytest.fixture
def _in_clients_root(clients_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autopkgtest, "_root", lambda pipeline, test, folder, log: clients_root)


@pytest.mark.usefixtures("_in_clients_root")
def test_the_client_alone_with_what_it_depends_on(pipeline: Pipeline) -> None:
    autopkgtest.run(pipeline, "xwhep", TRIALS["client-alone"])


@pytest.mark.usefixtures("_in_clients_root")
def test_a_role_needs_what_it_depends_on(pipeline: Pipeline) -> None:
    """The other roles' tests do not pass where only the client is."""
    for name in ("server-alone", "worker-alone", "linked"):
        with pytest.raises(ReleaseError, match=f"the test {name} of xwhep fails") as caught:
            autopkgtest.run(pipeline, "xwhep", TRIALS[name])
        assert "xwhep-" in caught.value.cause, "it names what is missing"


@pytest.mark.usefixtures("_in_clients_root")
@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("echo bad; exit 3", "the test bad of xwhep fails"),
        ("echo bad >&2", "the test bad of xwhep fails: it writes to standard error"),
        ("[ $(id -u) = 1000 ] && [ -e /usr/bin/xw ] && touch $AUTOPKGTEST_TMP/x && echo bad && exit 1", "fails"),
    ],
)
def test_a_test_that_fails_is_named(pipeline: Pipeline, script: str, what: str) -> None:
    test = Trial(name="bad", argv=("sh", "-c", script), packages=())
    with pytest.raises(ReleaseError, match=what) as caught:
        autopkgtest.run(pipeline, "xwhep", test)
    assert caught.value.cause.splitlines()[-1] == "bad"
    assert caught.value.log is not None


# lintian


def test_lintian_has_nothing_to_say(pipeline: Pipeline) -> None:
    """All of its checks, every tag."""
    assert pipeline.make(f"pedantic:{SMALL}").path("lint.txt").read_text() == ""


@pytest.mark.nightly
def test_lintian_has_nothing_to_say_of_any_package(pipeline: Pipeline) -> None:
    for name in pipeline.settings.sources:
        assert pipeline.make(f"pedantic:{name}").path("lint.txt").read_text() == ""


@pytest.fixture
def terse(pipeline: Pipeline, tmp_path: Path) -> Output:
    """The small package with too short a description."""
    (deb,) = pipeline.output(f"debs:{SMALL}").matching(".deb")
    (tmp_path / "work").mkdir()
    spoiled(Path(shutil.copy(deb, tmp_path / "work")), says_too_little)
    manifest = Manifest(
        stage="debs", name=SMALL, key="k", inputs={}, files={deb.name: FileRecord(0, "")}, facts={"epoch": EPOCH}
    )
    return Output(folder=tmp_path / "work", manifest=manifest)


def test_a_hint_stops_a_release(pipeline: Pipeline, terse: Output, tmp_path: Path) -> None:
    """What it means for a build is in test_debs_lint.py."""
    (tmp_path / "draft").mkdir()
    draft = Draft(folder=tmp_path / "draft", log=tmp_path / "log")
    with pytest.raises(LintError, match=f"lintian objects to {SMALL}") as caught:
        make_lint(STRICT, {"debs": terse, "chroot": pipeline.output("base:chroot")}, draft)
    assert f"I: {SMALL}: extended-description-is-probably-too-short" in caught.value.cause
