"""The apt repository of a release, asked by apt itself from a root of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.repository import About, Index, pool_folder, write_suite
from xwhep_packaging.release.signing import Key, key_of

EPOCH = "1"  # of what packages hold: the same content gives the same bytes, whatever second it is
ABOUT = About(origin="o", label="l", suite="stable", architecture="amd64", epoch=1_800_000_000)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    with key_of("", tmp_path_factory.mktemp("key") / "secret.asc", lambda line: None) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Site:
    """A repository, and apt on a root of its own that reads it."""

    folder: Path
    root: Path
    key: Key

    def deb(self, name: str, version: str = "1", text: str = "hello") -> tuple[Path, str]:
        """A package in the pool, and its place there."""
        tree, place = self.root / "tree", f"{pool_folder(name)}/{name}_{version}_all.deb"
        (tree / "DEBIAN").mkdir(parents=True)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nSection: science\nMaintainer: A <a@b.invalid>\n"
        )
        (tree / "DEBIAN" / "control").write_text(f"{control}Description: short\n long\n .\n more\n")
        (tree / "usr" / "share" / "both").mkdir(parents=True)
        (tree / "usr" / "share" / "both" / "a file").write_text(text)
        (tree / "usr" / "share" / name).symlink_to("both/a file")
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        argv = ["dpkg-deb", "--build", "--root-owner-group", tree, target]
        subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
        shutil.rmtree(tree)
        return target, place

    def write(self, index: Index, about: About = ABOUT) -> Path:
        write_suite(self.folder / "dists" / about.suite, index, about, self.key)
        return self.folder / "dists" / about.suite

    def apt(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        for name in ("lists/partial", "archives/partial", "parts"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        signed_by = "\n".join(f" {line or '.'}" for line in self.key.public().strip().splitlines())
        (self.root / "parts" / "one.sources").write_text(
            f"Types: deb deb-src\nURIs: file:{self.folder}\nSuites: stable\nComponents: main\nSigned-By:\n{signed_by}\n"
        )
        options = {
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",
            "Dir::Cache": self.root,
            "Dir::Cache::archives": self.root / "archives",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.root / "parts",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self.root,
            "Dir::State::lists": self.root / "lists",
            "Dir::State::status": self.root / "status",
            "Debug::NoLocking": "true",
        }
        chosen = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        argv = ["apt-get", *chosen, verb, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=self.root)

    def update(self) -> subprocess.CompletedProcess[str]:
        return self.apt("update", "--error-on=any")


@pytest.fixture
def site(tmp_path: Path, key: Key) -> Site:
    (tmp_path / "apt").mkdir()
    return Site(folder=tmp_path / "repository", root=tmp_path / "apt", key=key)


@pytest.fixture
def published(site: Site) -> Site:
    index = Index()
    for name in ("anna", "libben"):
        index.add_deb(*site.deb(name))
    site.write(index)
    return site


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_apt_takes_it_by_the_key_in_its_stanza(published: Site) -> None:
    assert published.update().returncode == 0
    done = published.apt("download", "anna")
    assert done.returncode == 0, done.stderr
    fetched = published.root / "anna_1_all.deb"
    assert fetched.read_bytes() == (published.folder / "pool/main/a/anna/anna_1_all.deb").read_bytes()
    assert "libben_1_all.deb" in published.apt("install", "--print-uris", "libben").stdout


def change(path: Path, old: bytes, new: bytes) -> None:
    """Also under its hash: apt asks for that first."""
    content = path.read_bytes()
    assert old in content
    copies = path.parent.rglob(f"by-hash/SHA256/{hashlib.sha256(content).hexdigest()}")
    for one in [path, *copies]:
        one.unlink()
        one.write_bytes(content.replace(old, new))


def test_apt_refuses_a_changed_release(published: Site) -> None:
    change(published.folder / "dists/stable/InRelease", b"\nOrigin: o", b"\nOrigin: x")
    done = published.update()
    assert done.returncode != 0
    assert "BADSIG" in done.stderr


def test_apt_refuses_changed_packages(published: Site) -> None:
    index = published.folder / "dists/stable/main/binary-amd64"
    (index / "Packages.gz").unlink()
    change(index / "Packages", b"Description: short", b"Description: shirt")
    for packed in (index / "by-hash/SHA256").iterdir():
        if packed.read_bytes().startswith(b"\x1f\x8b"):
            packed.unlink()
    assert published.update().returncode != 0


def test_apt_refuses_another_key(published: Site, tmp_path: Path) -> None:
    with key_of("", tmp_path / "other" / "secret.asc", lambda line: None) as other:
        done = replace(published, key=other).update()
    assert done.returncode != 0
    assert "NO_PUBKEY" in done.stderr + done.stdout


def test_a_changed_package_is_not_installed(published: Site) -> None:
    deb = published.folder / "pool/main/a/anna/anna_1_all.deb"
    deb.write_bytes(deb.read_bytes()[:-1] + b"!")
    assert published.update().returncode == 0
    done = published.apt("download", "anna")
    assert done.returncode != 0
    assert "Hash Sum mismatch" in done.stderr


def test_one_more_later_is_the_same_as_all_at_once(site: Site, tmp_path: Path) -> None:
    debs = [site.deb(name) for name in ("anna", "ben", "carl")]
    first = Index()
    for deb in debs[:2]:
        first.add_deb(*deb)
    suite = site.write(first)
    more = Index.read(suite, "amd64")
    more.add_deb(*debs[2])
    site.write(more)
    at_once = Index()
    for deb in debs:
        at_once.add_deb(*deb)
    write_suite(tmp_path / "again", at_once, ABOUT, site.key)
    old = {path for path in tree(suite) if "by-hash" in path} - set(tree(tmp_path / "again"))
    assert {path: digest for path, digest in tree(suite).items() if path not in old} == tree(tmp_path / "again")
    assert old, "clients that read the old Release still find its indexes"


def test_one_more_among_ten_thousand_takes_less_than_a_second(published: Site) -> None:
    """Of the processor's time, gpg's and dpkg's too: others may be at work on the same machine."""
    suite = published.folder / "dists" / "stable"
    many = Index.read(suite, "amd64")
    stanza = many.packages["anna", "1"]
    for name in (f"package{number}" for number in range(10_000)):
        many.packages[name, "1"] = stanza.replace("anna", name)
        many.contents[f"usr/share/{name}"] = f"science/{name}"
    published.write(many)
    deb = published.deb("one-more")
    before = sum(os.times()[:4])
    index = Index.read(suite, "amd64")
    index.add_deb(*deb)
    published.write(index)
    assert sum(os.times()[:4]) - before < 1
    assert published.update().returncode == 0
    assert published.apt("download", "one-more").returncode == 0


def test_contents_name_every_package_of_a_file(published: Site) -> None:
    text = (published.folder / "dists/stable/main/Contents-amd64").read_text()
    assert text.splitlines() == [
        "usr/share/anna science/anna",
        "usr/share/both/a file science/anna,science/libben",
        "usr/share/libben science/libben",
    ]


def test_the_same_version_never_gets_other_bytes(site: Site) -> None:
    index = Index()
    index.add_deb(*site.deb("anna"))
    index.add_deb(*site.deb("anna"))
    with pytest.raises(ReleaseError, match="published with other bytes") as caught:
        index.add_deb(*site.deb("anna", text="other"))
    assert "new version" in caught.value.next_step


def test_what_is_no_package_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "no.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(ReleaseError, match=r"no\.deb is no package"):
        Index().add_deb(tmp_path / "no.deb", "pool/no.deb")


def test_apt_finds_the_source(site: Site) -> None:
    folder = site.folder / pool_folder("anna")
    folder.mkdir(parents=True)
    archive = folder / "anna_1.tar.xz"
    archive.write_bytes(b"an archive")
    sha256 = hashlib.sha256(b"an archive").hexdigest()
    (folder / "anna_1.dsc").write_text(
        "Format: 3.0 (native)\nSource: anna\nBinary: anna\nArchitecture: all\nVersion: 1\n"
        f"Checksums-Sha1:\n {'0' * 40} 10 anna_1.tar.xz\nChecksums-Sha256:\n {sha256} 10 anna_1.tar.xz\n"
        f"Files:\n {'0' * 32} 10 anna_1.tar.xz\n"
    )
    index = Index()
    index.add_source(folder / "anna_1.dsc", pool_folder("anna"))
    site.write(index)
    assert site.update().returncode == 0
    done = site.apt("source", "--download-only", "anna")
    assert done.returncode == 0, done.stderr
    assert (site.root / "anna_1.tar.xz").read_bytes() == b"an archive"
    assert (site.root / "anna_1.dsc").is_file()


def test_signed_again_it_is_the_same(published: Site, tmp_path: Path) -> None:
    suite = published.folder / "dists" / "stable"
    write_suite(tmp_path / "again", Index.read(suite, "amd64"), ABOUT, published.key)
    assert tree(tmp_path / "again") == tree(suite)


@pytest.mark.parametrize(("source", "folder"), [("xwhep", "pool/main/x/xwhep"), ("libx", "pool/main/libx/libx")])
def test_pool_is_laid_out_as_debians(source: str, folder: str) -> None:
    assert pool_folder(source) == folder
