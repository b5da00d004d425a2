"""What decides whether a build may become a release, without making one: tests/integration makes a whole one."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from xwhep_packaging import command, settings
from xwhep_packaging.artefacts import FileRecord, Manifest, Output
from xwhep_packaging.errors import LockError, ReleaseError, SettingsError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release import moving, page, pushing, statements
from xwhep_packaging.release.channels import Channels
from xwhep_packaging.release.gates import purging
from xwhep_packaging.release.gates.kept import Gate
from xwhep_packaging.release.layout import Layout, Named
from xwhep_packaging.release.making import FOLDER, GATES, Making
from xwhep_packaging.release.signing import key_of
from xwhep_packaging.store import Store, write_durably
from xwhep_packaging.tasks.shipping import GATE_DOCS
from xwhep_packaging.verify.variations import BOUNDED

REPORT: dict[str, Any] = {
    "product": "grid",
    "version": "1.0",
    "commit": "c" * 40,
    "date": "2026-11-28T00:00:00Z",
    "epoch": 1_800_000_000,
    "drifted": [],
    "keys": {"debs:grid": "k"},
    "debs": [{"package": "grid", "version": "1.0", "architecture": "all", "sha256": "d" * 64}],
    "images": [{"name": "server", "digest": "sha256:1", "tags": ["grid-server:1.0"], "size": 98_500_000}],
}


@dataclass
class Built:
    """A pipeline that has just built."""

    store: Store
    key: str = "k"
    steps: dict[str, object] = field(default_factory=lambda: {"debs:grid": None})
    settings: object = field(default_factory=lambda: SimpleNamespace(release=settings.Release()))

    def recipe(self, name: str) -> object:
        return SimpleNamespace(key=self.key)


@pytest.fixture
def built(tmp_path: Path) -> Built:
    store = Store(tmp_path)
    store.write_latest(REPORT)
    return Built(store=store)


def making(built: Built, say: Callable[[str], None] = print) -> Making:
    return Making(pipeline=cast(Pipeline, built), skipped=(), say=say)


def test_another_build_than_the_commits_is_none(built: Built) -> None:
    built.key = "of another commit"
    with pytest.raises(ReleaseError, match="no build of this commit") as caught:
        making(built).run()
    assert caught.value.next_step == "scripts/doit build"


def test_a_build_that_drifted_is_refused(built: Built) -> None:
    built.store.write_latest({**REPORT, "drifted": ["libc6 moved on"]})
    with pytest.raises(LockError, match="cannot be released") as caught:
        making(built).run()
    assert caught.value.cause == "libc6 moved on"


def released(built: Built, **other: object) -> None:
    """As if it were made already."""
    say: list[str] = []
    with key_of("", built.store.root / "release-key" / "secret.asc", say.append) as key:
        content = {**making(built)._content(key), **other}
    folder = built.store.scratch(FOLDER) / "1.0"
    folder.mkdir()
    write_durably(folder / "release.json", json.dumps(content).encode())


def test_a_build_beside_uncommitted_changes_is_refused(built: Built) -> None:
    built.store.write_latest({**REPORT, "dirty": True})
    with pytest.raises(ReleaseError, match="changes that are in no commit") as caught:
        making(built).run()
    assert "git status" in caught.value.next_step
    assert not (built.store.root / FOLDER / "1.0").exists()


OTHERS = "A" * 40


def test_a_key_that_the_settings_do_not_name_makes_no_release(built: Built) -> None:
    built.settings = SimpleNamespace(release=settings.Release(keys=[OTHERS]))
    with pytest.raises(ReleaseError, match=r"release 1\.0 has a key that is not among those of the settings") as caught:
        making(built).run()
    assert OTHERS in caught.value.cause
    assert not (built.store.root / FOLDER / "1.0").exists()


@pytest.mark.parametrize("move", ["promote", "push"])
def test_a_release_by_another_key_is_not_shown(
    built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: str
) -> None:
    """Whatever the key, its own signatures are good: only the settings can tell."""
    released(built)
    folder = built.store.root / FOLDER / "1.0"
    with key_of("", tmp_path / "secret.asc", print) as key:
        (folder / "release-key.asc").write_text(key.public())
    checked, done = list[Path](), list[str]()
    monkeypatch.setattr(moving, "check", lambda pipeline, folder, public: checked.append(folder))
    monkeypatch.setattr(pushing, "push", lambda channels, version, registry, say: done.append(version))

    def moved(*keys: str) -> None:
        built.settings = SimpleNamespace(release=settings.Release(keys=list(keys)))
        pipeline = cast(Pipeline, built)
        if move == "promote":
            moving.promote(pipeline, "stable", "1.0", done.append)
        else:
            moving.push(pipeline, pushing.Registry(address="host/x"), "1.0", done.append)

    with pytest.raises(ReleaseError, match=f"not among those of the settings: {key.fingerprint}"):
        moved(OTHERS)
    assert (checked, done) == ([], [])
    moved(OTHERS, key.fingerprint.lower())
    moved()
    assert checked == [folder, folder]
    assert len(done) == 2


def test_a_gate_alone_says_what_it_tried(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a second time only that it holds."""
    gate = Gate(name="purge", inputs={"debs:grid": "k"}, check=lambda: ["server", "worker"])
    monkeypatch.setattr(purging, "gate", lambda pipeline: gate)
    said: list[str] = []
    for _ in range(2):
        moving.try_gate(cast(Pipeline, built), "purge", said.append)
    assert said == ["·  purge", "✓  purge: server, worker", "✓  purge: server, worker"]


def test_each_gate_is_a_task_of_its_own() -> None:
    """The others are stages, and verify."""
    others = {"verify", "endurance", "lintian"}
    assert set(GATE_DOCS) == set(GATES) - others == set(moving._gates(cast(Making, None)))


def test_what_is_made_is_not_made_again(built: Built) -> None:
    released(built)
    said: list[str] = []
    making(built, said.append).run()
    assert said == [f"release 1.0 is made already: {built.store.root / FOLDER / '1.0'}"]


def test_what_is_made_is_not_tried_again(built: Built) -> None:
    """No check runs: this pipeline could not be tried, and says nothing of one."""
    released(built)
    said: list[str] = []
    moving.make(cast(Pipeline, built), "", said.append)
    assert said == [f"release 1.0 is made already: {built.store.root / FOLDER / '1.0'}"]


def test_another_release_is_refused_before_any_check(built: Built) -> None:
    released(built, commit="d" * 40)
    said: list[str] = []
    with pytest.raises(ReleaseError, match="is another one"):
        moving.make(cast(Pipeline, built), "", said.append)
    assert said == []


def test_a_version_never_becomes_another_release(built: Built) -> None:
    released(built, images=[], commit="d" * 40)
    with pytest.raises(ReleaseError, match=r"release 1\.0 is made already, and is another one") as caught:
        making(built).run()
    assert caught.value.cause == "other: commit, images"
    assert "tag the commit" in caught.value.next_step


VERIFIED = {
    "identical": True,
    "keys": {"debs:grid": "k"},
    "variations": list(BOUNDED),
    "beside": ["papers:release"],
}


@pytest.mark.parametrize(
    ("record", "verified"),
    [
        (None, False),
        (VERIFIED, True),
        ({**VERIFIED, "keys": {"debs:grid": "another"}}, False),
        ({**VERIFIED, "identical": False}, False),
        ({**VERIFIED, "variations": ["timezone"]}, False),
        ({**VERIFIED, "beside": []}, False),
        ({"identical": True}, False),
    ],
)
def test_only_rebuilds_of_this_build_count(built: Built, record: dict[str, Any] | None, verified: bool) -> None:
    if record is not None:
        write_durably(built.store.scratch("verify") / "latest.json", json.dumps(record).encode())
    assert moving.is_verified(cast(Pipeline, built)) == verified


def test_the_newest_is_the_one_made_last(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="there is no release"):
        moving.newest(Channels(tmp_path))
    for version in ("2", "1"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "release.json").write_text("{}")
    assert moving.newest(Channels(tmp_path)) == "1"


@pytest.mark.parametrize(
    "values",
    [
        {"key": "0123"},
        {"key": "x" * 40},
        {"url": "ftp://host"},
        {"url": "https://host/"},
        {"url": "https://a b"},
    ],
)
def test_malformed_settings_are_refused(tmp_path: Path, values: dict[str, str]) -> None:
    lines = "".join(f'{name} = "{value}"\n' for name, value in values.items())
    file = tmp_path / "pipeline.toml"
    ours = Path(__file__).parents[3] / "packaging" / "pipeline.toml"
    file.write_text(ours.read_text().replace("[release]\n", f"[release]\n{lines}#", 1))
    with pytest.raises(SettingsError):
        settings.load(file)


def test_only_full_fingerprints_are_keys() -> None:
    assert msgspec.convert({"keys": [OTHERS]}, settings.Release).keys == [OTHERS]
    with pytest.raises(msgspec.ValidationError, match="keys"):
        msgspec.convert({"keys": ["0123"]}, settings.Release)


def image(tmp_path: Path, labels: dict[str, str]) -> Output:
    """One without layers, which no engine is asked for."""
    config = json.dumps({"config": {"Labels": labels}, "rootfs": {"diff_ids": []}}).encode()
    (tmp_path / "config.json").write_bytes(config)
    record = FileRecord(size=len(config), sha256=hashlib.sha256(config).hexdigest())
    manifest = Manifest(
        stage="images",
        name="server",
        key="k",
        inputs={},
        files={"config.json": record},
        facts={"layers": [], "digest": f"sha256:{record.sha256}"},
    )
    return Output(folder=tmp_path, manifest=manifest)


def test_a_bound_image_is_refused_by_its_label(tmp_path: Path) -> None:
    named = Named(image=image(tmp_path, {"org.xwhep.private": "true"}), names=("grid-server:1.0",), annotations={})
    with pytest.raises(ReleaseError, match="image server is private") as caught:
        Layout(tmp_path / "oci").write([named])
    assert "role image" in caught.value.next_step


def test_image_ids_stay_in_the_layout(tmp_path: Path) -> None:
    public = image(tmp_path, {"org.xwhep.role": "server"})
    named = Named(image=public, names=("grid-server:1.0", "grid-server:stable"), annotations={"revision": "c"})
    digests = Layout(tmp_path / "oci").write([named])
    index = json.loads((tmp_path / "oci" / "index.json").read_bytes())
    assert {entry["digest"] for entry in index["manifests"]} == {digests["server"]}
    blobs = tmp_path / "oci" / "blobs" / "sha256"
    manifest = json.loads((blobs / digests["server"].removeprefix("sha256:")).read_bytes())
    assert manifest["config"]["digest"] == public.manifest.facts["digest"]
    assert manifest["annotations"] == {"revision": "c"}
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


# Where its images go


@pytest.fixture
def made(tmp_path: Path) -> Channels:
    """A release whose layout has one image by version, by time and by two channels."""
    names = ("grid-server:1.0", "gridimg_2026-11-28", "grid-server:stable", "grid-server:nightly")
    entries = [{"digest": "sha256:1", "annotations": {"org.opencontainers.image.ref.name": name}} for name in names]
    (tmp_path / "1.0" / "oci").mkdir(parents=True)
    (tmp_path / "1.0" / "release.json").write_text("{}")
    (tmp_path / "1.0" / "oci" / "index.json").write_text(json.dumps({"manifests": entries}))
    return Channels(tmp_path)


def test_images_are_pushed_by_version_and_by_the_channels_that_show_it(made: Channels) -> None:
    assert [target for _, target in pushing.wanted(made, "1.0")] == ["grid-server:1.0"]
    made.promote("stable", "1.0", lambda folder: None)
    assert [target for _, target in pushing.wanted(made, "1.0")] == ["grid-server:1.0", "grid-server:stable"]


@pytest.mark.parametrize("address", ["", "a registry", "--help", "host/", "/host"])
def test_what_is_no_registry_is_refused(address: str) -> None:
    with pytest.raises(ReleaseError, match="is no registry"):
        pushing.Registry(address=address)


@pytest.mark.parametrize(
    ("output", "insecure", "next_step"),
    [
        ("unauthorized: authentication required", False, "skopeo login host:5000"),
        ("http: server gave HTTP response to HTTPS client", False, "insecure=1"),
        ("dial tcp: connection refused", True, "what is there already is not sent again"),
    ],
)
def test_a_registry_that_refuses_says_what_to_type(
    made: Channels, monkeypatch: pytest.MonkeyPatch, output: str, insecure: bool, next_step: str
) -> None:
    monkeypatch.setattr(command, "run", lambda asked, check: command.Result(returncode=1, stdout="", stderr=output))
    with pytest.raises(ReleaseError, match=r"cannot push host:5000/x/grid-server:1\.0") as caught:
        pushing.push(made, "1.0", pushing.Registry(address="host:5000/x", insecure=insecure), print)
    assert caught.value.cause == output
    assert next_step in caught.value.next_step


# What is said of it


def test_statement_is_signed_over_what_dsse_says(tmp_path: Path) -> None:
    statement = statements.test_result([("a", "1" * 64)], "PASSED", ["network_test"], {"engine": "podman"})
    with key_of("", tmp_path / "secret.asc", lambda line: None) as key:
        envelope = json.loads(statements.envelope(statement, key, 1_800_000_000))
    assert json.loads(base64.b64decode(envelope["payload"])) == statement
    assert envelope["signatures"][0]["keyid"] == key.fingerprint
    assert statements.pre_authentication("{}") == "DSSEv1 28 application/vnd.in-toto+json 2 {}"


def test_provenance_names_commit_packages_tools_and_what_was_skipped() -> None:
    built = statements.Built(
        sources=[statements.Source(name="grid", uri="https://host/grid.git", digest={"gitCommit": "c" * 40})],
        packages=[("libc6", "2.41", "a" * 64)],
        tools={"buildah": "1.28"},
        keys={"debs:grid": "k"},
        skipped=("verify",),
        byproducts=[("sbom/grid.spdx.json", "e" * 64)],
        finished_at=1_800_000_000,
    )
    made = statements.provenance([("apt/pool/grid.deb", "d" * 64)], built)
    definition = made["predicate"]["buildDefinition"]
    assert made["predicateType"] == "https://slsa.dev/provenance/v1"
    assert made["subject"] == [{"name": "apt/pool/grid.deb", "digest": {"sha256": "d" * 64}}]
    assert definition["externalParameters"]["source"]["digest"] == {"gitCommit": "c" * 40}
    assert definition["externalParameters"]["skipped"] == ["verify"]
    assert definition["resolvedDependencies"][1] == {
        "name": "pkg:deb/debian/libc6@2.41",
        "digest": {"sha256": "a" * 64},
    }
    assert made["predicate"]["runDetails"]["byproducts"] == [
        {"name": "sbom/grid.spdx.json", "digest": {"sha256": "e" * 64}}
    ]
    assert made["predicate"]["runDetails"]["metadata"] == {"finishedOn": "2027-01-15T08:00:00Z"}


def test_page_says_how_to_install_and_escapes_what_it_is_given() -> None:
    content = {**REPORT, "channels": ["nightly", "stable"], "key": "F" * 40, "skipped": ["verify"], "product": "g<b>"}
    text = page.render(content, "https://host/grid", None)
    assert "https://host/grid/1.0" in text
    assert "apt install grid" in text
    assert "98.5 MB" in text
    assert "Left out for this release: verify." in text
    assert 'href="sbom/grid.cdx.json"' in text
    assert "<b>" not in text
    assert "URL-OF-THIS-PAGE" in page.render(content, "", None)
