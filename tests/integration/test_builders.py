"""Every sample project of tests/projects is built, or refused with its own clear error.

Needs root, mmdebstrap and a Debian mirror; the root file systems are shared with this checkout's store.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clones import REPOSITORY
from workshop import Built, Workshop, deb_contents, deb_field, deb_file, git, read_sample, samples
from xwhep_packaging.errors import PipelineError, SourceError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds need root")
ERROR_LINES = 14  # an error is at most this long, or nobody reads it


def workshop_in(folder: Path) -> Workshop:
    """A store of its own, but for the root file systems: they are made once for all."""
    bases = REPOSITORY / "_build" / "base"
    bases.mkdir(parents=True, exist_ok=True)
    (folder / "store").mkdir()
    (folder / "store" / "base").symlink_to(bases)
    return Workshop(folder=folder / "repositories", store=folder / "store")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return workshop_in(tmp_path_factory.mktemp("builders"))


@pytest.fixture(autouse=True)
def _nothing_is_left(workshop: Workshop) -> Iterator[None]:
    yield
    assert str(workshop.store) not in Path("/proc/mounts").read_text()
    assert not list((workshop.store / "tmp").glob("*"))


@pytest.mark.parametrize("name", samples(broken=False))
def test_sample_is_built(workshop: Workshop, name: str, tmp_path: Path) -> None:
    built = workshop.build(name)
    expect = read_sample(name)["expect"]
    for pattern in [*expect["packages"], *expect.get("files", [])]:
        assert built.matching(pattern), (pattern, sorted(built.debs.manifest.files))
    assert len(built.matching("*.deb")) == len(expect["packages"])
    _check_facts(built, expect)
    main = built.one(expect["packages"][0])
    for field, texts in expect.get("control", {}).items():
        assert all(text in deb_field(main, field) for text in texts), deb_field(main, field)
    for path in expect.get("holds", []):
        assert f" {path}\n" in deb_contents(main)
    for path, text in expect.get("installed", {}).items():
        assert text in deb_file(main, path, tmp_path)
    for path in expect.get("source_holds", []):
        with tarfile.open(built.one("*.debian.tar.xz")) as archive:
            assert path in archive.getnames()


def _check_facts(built: Built, expect: dict[str, Any]) -> None:
    facts = built.debs.manifest.facts
    for name, value in expect.get("facts", {}).items():
        assert facts[name] == value
    assert set(expect.get("chroot_has", [])) <= built.chroot_packages()
    assert not set(expect.get("chroot_lacks", [])) & built.chroot_packages()
    if "identical" in expect:
        report = facts["reproducibility"]
        assert report["compared"]
        assert report["identical"] is expect["identical"]
        assert [path for paths in report["differences"].values() for path in paths] == expect.get("differs", [])
        assert set(expect.get("normalised", [])) <= {text for texts in report["normalised"].values() for text in texts}


@pytest.mark.parametrize("name", samples(broken=True))
def test_broken_sample_gives_its_own_error(workshop: Workshop, name: str) -> None:
    sample = read_sample(name)
    expect = sample["expect"]
    with pytest.raises(PipelineError) as caught:
        workshop.build(name)
    report = caught.value.report()
    assert caught.value.exit_code == expect["code"], report
    assert all(text in report for text in expect["says"]), report
    assert "next:" in report
    assert len(report.splitlines()) <= ERROR_LINES, report


def test_errors_differ_from_sample_to_sample() -> None:
    """Each mistake is told from the others by its words."""
    words = [tuple(read_sample(name)["expect"]["says"]) for name in samples(broken=True)]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("name", ["c-quilt", pytest.param("py-service", marks=pytest.mark.nightly)])
def test_two_folders_at_two_times_give_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Packages, .dsc, orig tarball, .changes and .buildinfo."""
    digests = []
    for length in ("a", "another-folder-with-a-longer-name"):
        root = tmp_path_factory.mktemp(length)
        built = workshop_in(root).build(name)
        digests.append({file: record.sha256 for file, record in built.debs.manifest.files.items()})
        time.sleep(1.1)  # so that a time in seconds differs
    assert digests[0] == digests[1]
    assert any(file.endswith(".orig.tar.gz") for file in digests[0])


def test_committed_orig_tarball_is_taken_as_it_is(workshop: Workshop) -> None:
    repository = workshop.repository("shell-old", "shell-pristine")
    tarball = repository / "upstream.tar.gz"
    with gzip.GzipFile(tarball, "wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("shell-greet", "shell-greet.1", "sample.toml"):
            archive.add(repository / name, f"upstream/{name}")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=orig")
    source = {"builder": "debian", "orig": "upstream.tar.gz", "lint": False}
    built = Built(
        pipeline=(pipeline := workshop.pipeline(repository, source)), debs=pipeline.make("debs:shell-pristine")
    )
    orig = built.one("shell-old_0.9.orig.tar.gz")
    assert orig.read_bytes() == git_bytes(repository, "upstream.tar.gz")
    assert built.one("shell-old_0.9-1~git*_all.deb")


def git_bytes(repository: Path, path: str) -> bytes:
    return subprocess.run(
        ["git", "-C", str(repository), "show", f"HEAD:{path}"], check=True, capture_output=True
    ).stdout


def make_sdist(folder: Path, repository: Path) -> Path:
    """An sdist as setuptools makes it: one folder, gzip, times of the day."""
    sdist = folder / "py-setup-1.2rc1.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for name in ("setup.py", "py_setup.py", "LICENSE"):
            archive.add(repository / name, f"py-setup-1.2rc1/{name}")
    return sdist


def test_pinned_sdist_is_its_own_orig_tarball(workshop: Workshop, tmp_path: Path) -> None:
    repository = workshop.repository("py-setup", "from-sdist")
    sdist = make_sdist(tmp_path, repository)
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    pipeline = workshop.pipeline(repository, {"builder": "stdeb", "sdist": str(sdist), "sha256": digest})
    built = Built(pipeline=pipeline, debs=pipeline.make("debs:from-sdist"))
    assert built.one("py-setup_1.2~rc1.orig.tar.gz").read_bytes() == sdist.read_bytes()
    assert built.one("python3-py-setup_1.2~rc1-1_all.deb")


def test_sdist_with_another_hash_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    repository = workshop.repository("py-setup", "other-hash")
    sdist = make_sdist(tmp_path, repository)
    pipeline = workshop.pipeline(repository, {"builder": "stdeb", "sdist": str(sdist), "sha256": "0" * 64})
    with pytest.raises(SourceError, match="is not the archive that was pinned") as caught:
        pipeline.make("source:other-hash")
    assert re.search("sha256 [0-9a-f]{64}, declared 0000", caught.value.cause)


def test_younger_overlay_gives_another_revision(workshop: Workshop) -> None:
    """Other bytes never go under the same version."""
    repository = workshop.repository("py-service", "younger")
    git(repository, "rm", "--quiet", "-r", "--cached", "overlay")
    git(repository, "commit", "--quiet", "--message=code alone")
    git(repository, "add", "--all", date="2026-11-03T08:30:00+00:00")
    git(repository, "commit", "--quiet", "--message=overlay", date="2026-11-03T08:30:00+00:00")
    source = {**read_sample("py-service")["source"], "ships": ["pyproject.toml", "py_service.py"]}
    built = Built(pipeline=(pipeline := workshop.pipeline(repository, source)), debs=pipeline.make("debs:younger"))
    assert built.one("py-service_4.0~git20261102.1200+*-1+20261103.0830_all.deb")
