"""A release whose maker is killed: it is there and whole, or not there, and the next one succeeds."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployments import put
from tiny_image import EPOCH, base, subject
from xwhep_packaging import settings
from xwhep_packaging.artefacts import Commit, FileRecord, Manifest, Output, sha256_file
from xwhep_packaging.errors import SecretFound
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.making import FOLDER, OF_PACKAGES, Making, check
from xwhep_packaging.store import Store

KILLS = 6
KILLS_AT_NIGHT = 50
VERSION = "1.0"


def output(folder: Path, stage: str, **facts: Any) -> Output:
    files = {
        path.name: FileRecord(size=path.stat().st_size, sha256=sha256_file(path))
        for path in folder.iterdir()
        if path.is_file()
    }
    manifest = Manifest(stage=stage, name="server", key="k", inputs={}, files=files, facts=facts)
    return Output(folder=folder, manifest=manifest)


def package(folder: Path, text: str = "") -> Output:
    (folder / "tree" / "DEBIAN").mkdir(parents=True)
    (folder / "tree" / "DEBIAN" / "control").write_text(
        f"Package: grid\nVersion: {VERSION}\nArchitecture: all\nMaintainer: A <a@b.invalid>\nDescription: d\n"
    )
    (folder / "tree" / "file").write_text(text)
    argv = ["dpkg-deb", "--build", "--root-owner-group", folder / "tree", folder / f"grid_{VERSION}_all.deb"]
    subprocess.run(argv, check=True, capture_output=True)
    return output(folder, "debs")


def image(folder: Path) -> Output:
    """One without layers, which no engine is asked for."""
    folder.mkdir()
    config = json.dumps({"config": {}, "rootfs": {"diff_ids": []}}).encode()
    (folder / "config.json").write_bytes(config)
    return output(folder, "images", layers=[], digest=f"sha256:{hashlib.sha256(config).hexdigest()}")


class Small:
    """A pipeline that has built one package and one image."""

    def __init__(self, folder: Path) -> None:
        (folder / "store").mkdir()
        self.store = Store(folder / "store")
        self.outputs = {"debs:grid": package(folder / "debs"), "images:server": image(folder / "image")}
        self.steps = dict.fromkeys(self.outputs)
        self.tools: dict[str, str] = {}
        self.supply = SimpleNamespace(lock=None)
        self.settings = SimpleNamespace(
            product=settings.Product(name="grid"),
            release=settings.Release(),
            suite=settings.Suite(),
            sources={"grid": None},
            images={"server": None},
            root_folder=folder,
            deployments_folder=folder / "deployments",
        )
        self.folder = folder
        self.store.write_latest(self.report())

    def recipe(self, name: str) -> object:
        return SimpleNamespace(key="k")

    def output(self, name: str) -> Output:
        return self.outputs[name]

    def commit(self, name: str) -> Commit:
        sha = "c" * 40
        return Commit(repository=self.folder, origin="local", sha=sha, shipped_sha=sha, epoch=EPOCH, content="x")

    def report(self) -> dict[str, Any]:
        deb = self.outputs["debs:grid"].folder / f"grid_{VERSION}_all.deb"
        row = {"package": "grid", "version": VERSION, "architecture": "all"}
        digest = self.outputs["images:server"].manifest.facts["digest"]
        server = {"name": "server", "digest": digest, "tags": [f"grid-server:{VERSION}"], "size": 1}
        return {
            "product": "grid",
            "version": VERSION,
            "commit": "c" * 40,
            "date": "2027-01-15T08:00:00Z",
            "epoch": EPOCH,
            "drifted": [],
            "keys": dict.fromkeys(self.steps, "k"),
            "engine": "podman",
            "network_test": {"tests": 1},
            "finished_at": EPOCH,
            "debs": [{**row, "sha256": sha256_file(deb), "path": str(deb)}],
            "images": [{**server, "version": VERSION, "epoch": EPOCH}],
        }


class Releasing:
    """What `doit release` does after its checks, here or in a process that is killed."""

    def __init__(self, folder: Path) -> None:
        self.small = Small(folder)
        self.said: list[str] = []
        self.skipped: tuple[str, ...] = ("endurance", "verify")
        self.target = self.small.store.root / FOLDER / VERSION
        self.read = subject(base(folder))

    def make(self) -> Path:
        """Its folder."""
        pipeline = cast(Pipeline, self.small)
        tried = dict.fromkeys(("structure", *OF_PACKAGES), ("server",))
        making = Making(pipeline=pipeline, skipped=self.skipped, say=self.said.append, tried=tried)
        row = {**self.read.row, "digest": self.small.outputs["images:server"].manifest.facts["digest"]}
        making.__dict__["subjects"] = [type(self.read)(**{**vars(self.read), "row": row})]
        making.run()
        return making.target

    def is_whole(self) -> bool:
        """False: not there. One that is there and not whole fails."""
        if not self.target.exists():
            return False
        key = (self.target / "release-key.asc").read_text()
        check(cast(Pipeline, self.small), self.target, key)
        return True

    @contextmanager
    def elsewhere(self) -> Iterator[int]:
        """Another process that makes the release."""
        child = os.fork()
        if child == 0:
            try:
                self.make()
            finally:
                os._exit(0)
        try:
            yield child
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def forget(self) -> None:
        if self.target.exists():
            self.target.rename(self.small.store.root / f"made-{time.monotonic_ns()}")


def passed(release: Path, name: str) -> list[str]:
    """What a statement of the release says that it tried."""
    envelope = json.loads((release / "attestations" / f"{name}.json").read_text())
    found: list[str] = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["passedTests"]
    return found


@pytest.fixture
def releasing(tmp_path: Path) -> Releasing:
    return Releasing(tmp_path)


def test_made_again_it_has_the_same_papers(releasing: Releasing) -> None:
    """And two more, where meanwhile a database of vulnerabilities is configured, and rebuilds were compared."""
    first = releasing.make()
    assert releasing.is_whole()
    names = {path.name for path in first.iterdir()}
    assert {"sbom", "sizes.json", "attestations", "SHA256SUMS.asc"} <= names
    assert not (first / "attestations" / "verify.json").exists()
    assert passed(first, "network-test") == ["network_test"]
    assert "vulnerabilities.json" not in names
    sums = {path.name: sha256_file(path) for path in (first / "sbom").iterdir()}
    releasing.forget()
    database = {"glibc": {"CVE-2026-0001": {"releases": {"trixie": {"status": "open"}}}}}
    (releasing.small.folder / "tracker.json").write_text(json.dumps(database))
    releasing.small.settings.release = settings.Release(vulnerabilities="tracker.json")
    releasing.skipped = ()
    verified = {"variations": ["date", "engine"], "compared": 7}
    (releasing.small.store.scratch("verify") / "latest.json").write_text(json.dumps(verified))
    again = releasing.make()
    assert releasing.is_whole()
    assert passed(again, "verify") == ["date", "engine"]
    assert passed(again, "network-test") == ["network_test", "endurance"]
    assert {path.name: sha256_file(path) for path in (again / "sbom").iterdir()} == sums
    assert len(sums) == 4
    (row,) = json.loads((again / "vulnerabilities.json").read_text())["images"]["server"]
    assert (row["id"], row["packages"]) == ("CVE-2026-0001", ["libc6"])
    assert "1 open" in (again / "index.html").read_text()
    provenance = json.loads((again / "attestations" / "provenance.json").read_text())["payload"]
    assert "vulnerabilities.json" in base64.b64decode(provenance).decode()
    assert passed(again, "structure") == ["structure: server"]
    assert passed(again, "packages") == ["autopkgtest: server", "lintian: server", "purge: server"]


@pytest.mark.parametrize("place", ["package", "paper"])
def test_a_secret_of_a_deployment_makes_no_release(releasing: Releasing, place: str) -> None:
    """Of any that this machine has, wherever it comes to lie."""
    small = releasing.small
    secret, _ = [put(small.settings.deployments_folder, name).joins[0].token for name in ("one", "two")]
    if place == "package":
        small.outputs["debs:grid"] = package(small.folder / "other", secret)
        small.store.write_latest(small.report())
    else:
        small.settings.product = settings.Product(name="grid", maintainer=secret)
    with pytest.raises(SecretFound) as caught:
        releasing.make()
    assert "join token" in caught.value.cause
    assert secret not in caught.value.report()
    assert not releasing.is_whole()


@pytest.mark.parametrize("kills", [KILLS, pytest.param(KILLS_AT_NIGHT, marks=pytest.mark.nightly)])
def test_killed_anywhere_it_is_whole_or_absent(releasing: Releasing, kills: int) -> None:
    started = time.monotonic()
    releasing.make()
    whole_s, chance, found = time.monotonic() - started, random.Random(11), set[bool]()
    for _ in range(kills):
        releasing.forget()
        with releasing.elsewhere():
            time.sleep(chance.uniform(0, 1.1) * whole_s)
        found.add(releasing.is_whole())
    assert False in found, "some were killed in time"
    releasing.forget()
    releasing.make()
    assert releasing.is_whole()
