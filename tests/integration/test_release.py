"""A release of a clone that has a deployment: what it holds, what it does not, and that a changed one is refused."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from browser import look
from clones import REPOSITORY
from grids import Grid
from xwhep_packaging.release.channels import Channels
from xwhep_packaging.release.signing import key_of
from xwhep_packaging.secret_scan import Scan, secrets_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds need root")
CHECKER = REPOSITORY / "scripts" / "verify-release"
RELEASE_ERROR = 25
ROLLBACK_LIMIT_S = 5.0
START_S = 20.0


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """Its files are links: whoever changes one has to replace it."""
    shutil.copytree(release, tmp_path / "release", copy_function=os.link)
    return tmp_path / "release"


def checked(place: Path | str, key: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", str(CHECKER), str(place), "--key", str(key)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=60)


def described(release: Path) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((release / "release.json").read_text())
    return text


def test_it_verifies_with_its_key_and_nothing_else_of_ours(release: Path) -> None:
    done = checked(release, release / "release-key.asc")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 6


def test_every_file_is_signed(release: Path) -> None:
    """So that none can be changed unseen; below, each kind of file is."""
    sums = dict(reversed(line.split("  ", 1)) for line in (release / "SHA256SUMS").read_text().splitlines())
    there = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert set(sums) == there - {"SHA256SUMS", "SHA256SUMS.asc"}


def test_it_holds_what_was_built(configured: Grid, release: Path) -> None:
    latest, told = configured.clone.latest(), described(release)
    assert {row["sha256"] for row in told["debs"]} == {row["sha256"] for row in latest["debs"]}
    assert {row["digest"] for row in told["images"]} == {row["digest"] for row in latest["images"]}
    assert told["commit"] == configured.clone.git("rev-parse", "HEAD")
    assert told["skipped"] == ["autopkgtest", "endurance", "lintian", "purge", "verify"]
    for row in latest["debs"]:
        found = list((release / "apt" / "pool").rglob(Path(row["path"]).name))
        assert [path.read_bytes() for path in found] == [Path(row["path"]).read_bytes()]
    assert (
        "Left out for this release: autopkgtest, endurance, lintian, purge, verify."
        in (release / "index.html").read_text()
    )


def test_its_bills_name_every_package_and_every_other_file(configured: Grid, release: Path) -> None:
    """Valid by their schemas; unit tests have more of the form."""
    told, names = described(release), {path.name for path in (release / "sbom").iterdir()}
    about = [*(row["package"] for row in told["debs"]), *(f"xwhep-{row['name']}-image" for row in told["images"])]
    assert names == {f"{name}.{form}.json" for name in about for form in ("spdx", "cdx")}
    spdx = release / "sbom" / "xwhep-worker-image.spdx.json"
    assert validate_full_spdx_document(parse_file(str(spdx))) == []
    packages = {row["name"]: row for row in json.loads(spdx.read_text())["packages"]}
    assert packages["libc6"]["checksums"], "the lock knows it"
    assert packages["nbody"]["checksums"][0]["checksumValue"] in {row["sha256"] for row in told["debs"]}
    cdx = json.loads((release / "sbom" / "xwhep-client-image.cdx.json").read_text())
    loose = [part for part in cdx["components"] if part["type"] == "file"]
    assert all(any(said["name"] == "xwhep:reason" for said in part["properties"]) for part in loose)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(cdx)) is None
    envelope = json.loads((release / "attestations" / "provenance.json").read_text())
    provenance = json.loads(base64.b64decode(envelope["payload"]))
    made = {row["name"] for row in provenance["predicate"]["runDetails"]["byproducts"]}
    assert made == {"sizes.json", *(f"sbom/{name}" for name in names)}


def test_its_sizes_are_within_budget_and_whole(release: Path) -> None:
    sizes = json.loads((release / "sizes.json").read_text())
    assert {row["name"]: row["size"] for row in described(release)["images"]} == {
        name: said["size"] for name, said in sizes.items()
    }
    for said in sizes.values():
        assert said["size"] == sum(said["packages"].values()) <= said["budget"]


def test_it_holds_nothing_private(configured: Grid, release: Path) -> None:
    names = [path.name for path in release.rglob("*")]
    assert not [name for name in names if "-conf" in name]
    told = (release / "oci" / "index.json").read_text() + (release / "release.json").read_text()
    assert [tag for facts in configured.facts("bound").values() for tag in facts["tags"] if tag in told] == []
    assert [facts["digest"] for facts in configured.facts("bound").values() if facts["digest"] in told] == []
    scan = Scan(secrets_of(configured.deployment))
    left_out = release / "oci" / "blobs"  # whose layers the scan of the images sees
    assert list(scan.folder(release, [left_out])) == []


def test_again_it_is_the_same(configured: Grid, release: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    assert "is made already" in configured.clone.doit("release", "skip=verify,endurance,autopkgtest,lintian,purge")
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == before


def replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def flipped(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replaced(path, bytes(content))


def first(folder: Path, pattern: str) -> Path:
    return min(folder.rglob(pattern))


def bigger_than(folder: Path, size: int) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > size)


CHANGES: dict[str, Callable[[Path], None]] = {
    "package": lambda release: flipped(first(release, "xwhep-server_*.deb")),
    "source": lambda release: flipped(first(release, "xwhep_*.tar.xz")),
    "index": lambda release: flipped(first(release, "Packages")),
    "index by hash": lambda release: flipped(first(release / "apt", "by-hash/SHA256/*")),
    "InRelease": lambda release: flipped(first(release, "InRelease")),
    "layer": lambda release: flipped(bigger_than(release / "oci" / "blobs", 10_000_000)),
    "images": lambda release: replaced(release / "oci" / "index.json", b'{"manifests": []}'),
    "statement": lambda release: flipped(release / "attestations" / "provenance.json"),
    "bill of materials": lambda release: flipped(first(release, "xwhep-server.spdx.json")),
    "page": lambda release: flipped(release / "index.html"),
    "list": lambda release: flipped(release / "SHA256SUMS"),
    "signature": lambda release: flipped(release / "SHA256SUMS.asc"),
    "one file more": lambda release: replaced_new(release / "apt" / "more"),
    "one file less": lambda release: first(release, "*.buildinfo").unlink(),
    "link": lambda release: linked(release / "CHANGELOG.md"),
}


def replaced_new(path: Path) -> None:
    path.write_text("more")


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_is_refused(copy: Path, release: Path, what: str) -> None:
    CHANGES[what](copy)
    done = checked(copy, release / "release-key.asc")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error [wrong]: ")
    assert "Traceback" not in done.stderr


def test_whoever_signs_it_again_is_another(copy: Path, release: Path, tmp_path: Path) -> None:
    """All of it is consistent, but for the key."""
    with key_of("", tmp_path / "secret.asc", lambda line: None) as key:
        sums = (copy / "SHA256SUMS").read_text()
        replaced(copy / "SHA256SUMS.asc", key.detached(sums, 1_800_000_000).encode())
        (tmp_path / "theirs.asc").write_text(key.public())
    assert checked(copy, release / "release-key.asc").returncode == 1
    done = checked(copy, tmp_path / "theirs.asc")
    assert done.returncode == 1, "the repository in it has the old key's signatures"
    assert "InRelease" in done.stderr


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_it_verifies_from_a_static_web_server(copy: Path, release: Path) -> None:
    key = release / "release-key.asc"
    with served(copy) as address:
        assert checked(address, key).returncode == 0
        first(copy, "*.dsc").unlink()
        done = checked(address, key)
        assert done.returncode == 1
        assert ".dsc is missing" in done.stderr
    gone = checked(address, key)
    assert gone.returncode == 3
    assert gone.stderr.startswith("error [unreadable]: ")


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1200, True)], ids=["phone", "desktop in the dark"])
def test_its_page_is_readable_everywhere(copy: Path, width: int, dark: bool) -> None:
    """Nothing has to be moved sideways, and nothing is asked of anybody."""
    with served(copy) as address:
        seen = look(address, copy, width, dark=dark)
    told = described(copy)
    assert seen.title == f"xwhep {told['version']}"
    assert seen.width <= width
    assert (sum(seen.ink) > sum(seen.paper)) == dark
    assert seen.asked == []
    assert f"curl -fsS {address}/xwhep-stable.sources" in seen.text, "the page knows where it lies"
    assert all(row["package"] in seen.text for row in told["debs"])


@pytest.mark.parametrize("key", ["", "no key at all", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n=abcd\n"])
def test_what_is_no_key_is_told(release: Path, tmp_path: Path, key: str) -> None:
    (tmp_path / "key.asc").write_text(key)
    done = checked(release, tmp_path / "key.asc")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def pulled(image: str, storage: Path) -> subprocess.CompletedProcess[str]:
    """Into a storage that has nothing."""
    where = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver=vfs"]
    argv = ["buildah", *where, "pull", "--quiet", "--tls-verify=false", image]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_images_are_pulled_by_name_and_are_those_that_were_tested(copy: Path, tmp_path: Path) -> None:
    image = described(copy)["images"][2]
    name = f"oci:{copy / 'oci'}:xwhep-{image['name']}:stable"
    done = pulled(name, tmp_path)
    assert done.stdout.strip() == image["digest"].removeprefix("sha256:"), done.stderr
    flipped(bigger_than(copy / "oci" / "blobs", 10_000_000))
    shutil.rmtree(tmp_path / "root")
    assert pulled(name, tmp_path).returncode != 0


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry of our own at a free port of this machine; its files are below `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    argv = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(folder / "registry.yml")]
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        until_it_listens(address, process, folder / "registry.log")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def until_it_listens(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.05)


def test_pushed_and_pulled_by_digest_into_an_empty_storage(configured: Grid, release: Path, tmp_path: Path) -> None:
    image = described(release)["images"][0]
    with registry(tmp_path) as address:
        told = configured.clone.doit("release:push", f"registry={address}/grid", "insecure=1")
        pushed = next(line for line in told.splitlines() if f"/xwhep-{image['name']}:" in line)
        assert len([line for line in told.splitlines() if "@sha256:" in line]) == 3, "no channel shows it yet"
        by_digest = re.sub(r":[^:/]+@", "@", pushed.strip())
        done = pulled(f"docker://{by_digest}", tmp_path)
        assert done.stdout.strip() == image["digest"].removeprefix("sha256:"), done.stderr
        flipped(bigger_than(tmp_path / "registry", 10_000_000))
        shutil.rmtree(tmp_path / "root")
        assert pulled(f"docker://{by_digest}", tmp_path).returncode != 0
    gone = configured.clone.doit("release:push", f"registry={address}/grid", "insecure=1", code=RELEASE_ERROR)
    assert "connection refused" in gone
    assert "is no registry" in configured.clone.doit("release:push", code=RELEASE_ERROR)


def test_promoted_shown_and_no_way_back_from_the_first(configured: Grid, release: Path) -> None:
    doit, folder = configured.clone.doit, release.parent
    assert "there is no release '9'" in doit("promote", "channel=stable", "version=9", code=RELEASE_ERROR)
    assert f"stable  nothing -> {release.name}" in doit("promote", "channel=stable")
    assert (folder / "stable").resolve() == release
    assert "has shown nothing before" in doit("rollback", "channel=stable", code=RELEASE_ERROR)
    assert "there is no channel 'stabel'" in doit("promote", "channel=stabel", code=RELEASE_ERROR)


@pytest.fixture
def shown_twice(release: Path) -> Iterator[Channels]:
    """Testing shows the release, and showed a copy of it before."""
    channels, before = Channels(release.parent), release.parent / "0-before"
    shutil.copytree(release, before, copy_function=os.link)
    for version in (before.name, release.name):
        channels.promote("testing", version, lambda folder: None)
    yield channels
    for path in (release.parent / "testing", release.parent / ".history" / "testing"):
        path.unlink()
    shutil.rmtree(before)


def test_the_way_back_takes_seconds(configured: Grid, release: Path, shown_twice: Channels) -> None:
    """From the command to its end."""
    began = time.monotonic()
    told = configured.clone.doit("rollback", "channel=testing")
    assert time.monotonic() - began < ROLLBACK_LIMIT_S
    assert f"testing  {release.name} -> 0-before" in told
    assert shown_twice.current("testing") == "0-before"


def test_a_release_by_a_key_that_the_settings_do_not_name_is_not_shown(configured: Grid, release: Path) -> None:
    """Its own signatures are good: the release of a trial, by the key of a store."""
    file = configured.clone.folder / "packaging" / "pipeline.toml"
    ours = file.read_text()
    file.write_text(ours.replace("keys = []", f'keys = ["{"A" * 40}"]'))
    try:
        told = configured.clone.doit("promote", "channel=testing", code=RELEASE_ERROR)
    finally:
        file.write_text(ours)
    assert f"not among those of the settings: {described(release)['key']}" in told
    assert not (release.parent / "testing").is_symlink()


def test_an_unknown_check_is_not_skipped(configured: Grid) -> None:
    assert "there is no check 'tests' to skip" in configured.clone.doit("release", "skip=tests", code=RELEASE_ERROR)
