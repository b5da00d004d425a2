"""Stage source, for a published archive: an sdist pinned by its hash.

path or URL ──> sha256 as declared? ──> kept in the store ──> source.tar (without the folder at its top) + orig.tar.*
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import urlsplit

from xwhep_packaging.artefacts import Commit, digests_of, sha256_file
from xwhep_packaging.definitions import StdebSource
from xwhep_packaging.errors import NetworkError, SourceError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, Store

STAGE = "source"
TARBALL = "source.tar"
TIMEOUT_S = 60
LARGEST_BYTES = 512 * 1024**2
EARLIEST = 315619200  # 1980-01-02: zip knows no earlier time, and lintian takes one for a mistake
SUFFIX = re.compile(r"\.tar\.(gz|xz|bz2)$")
Member = tuple[tarfile.TarInfo, bytes]


def resolve(settings: Settings, store: Store, name: str) -> Commit:
    """The archive as what a commit is for a repository; fetched unless it is here already.

    Raises:
        SourceError: no such file, another hash than declared, or no archive.
        NetworkError: its server does not answer.
    """
    source = settings.sources[name]
    assert isinstance(source, StdebSource)  # noqa: S101 - the caller asked
    file = store.scratch("sdists") / f"{source.sha256}-{PurePosixPath(urlsplit(source.sdist).path).name}"
    with store.locked(f"sdist-{source.sha256}"):
        if not file.is_file():
            _fetch(settings, source, file)
    return Commit(
        repository=file,
        origin=_public(source.sdist),
        sha=source.sha256,
        shipped_sha=source.sha256,
        epoch=max([EARLIEST, *(int(info.mtime) for info, _ in members(file))]),
        content=source.sha256,
        released=True,
    )


def recipe(name: str, commit: Commit) -> Recipe:
    """What decides the unpacked tree: the archive alone."""
    files = {"code": digests_of(Path(__file__))}
    return Recipe(stage=STAGE, name=name, inputs={"sdist": commit.content}, files=files)


def make_source(commit: Commit, draft: Draft) -> None:
    """Repack the archive as source.tar; a tarball is kept beside it as orig.tar.*, byte for byte."""
    with tarfile.open(draft.folder / TARBALL, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members(commit.repository):
            tar.addfile(info, io.BytesIO(content))
    suffix = SUFFIX.search(commit.repository.name)
    if suffix:
        shutil.copyfile(commit.repository, draft.folder / f"orig.tar.{suffix[1]}")
    draft.facts.update({"epoch": commit.epoch, "sha256": commit.sha, "origin": commit.origin})


def members(file: Path) -> list[Member]:
    """Files and links of the archive, sorted, without the one folder at its top; owners root, modes 644 or 755.

    Raises:
        SourceError: it is no archive, a member would lie outside of its folder, or there is not one folder at the top.
    """
    try:
        found = list(_zip_members(file) if zipfile.is_zipfile(file) else _tar_members(file))
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as exc:
        raise SourceError(f"{file.name} is no archive", cause=str(exc), next_step="correct `sdist`") from exc
    tops = {PurePosixPath(info.name).parts[0] for info, _ in found}
    if len(tops) != 1:
        raise SourceError(f"{file.name} does not hold one folder", cause=" ".join(sorted(tops)[:5]))
    for info, _ in found:
        info.name = str(PurePosixPath(*PurePosixPath(info.name).parts[1:]))
    return sorted(found, key=lambda member: member[0].name)


def _tar_members(file: Path) -> Iterator[Member]:
    with tarfile.open(file) as tar:
        for entry in tar:
            if entry.isfile() or entry.issym():
                stream = tar.extractfile(entry) if entry.isfile() else None
                info = _info(entry.name, int(entry.mtime), executable=bool(entry.mode & 0o100))
                info.type, info.linkname = entry.type if entry.issym() else tarfile.REGTYPE, entry.linkname
                yield _sized(info, stream.read() if stream else b"")


def _zip_members(file: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                executable = bool(entry.external_attr >> 16 & 0o100)
                yield _sized(_info(entry.filename, EARLIEST, executable=executable), archive.read(entry))


def _info(name: str, mtime: int, *, executable: bool) -> tarfile.TarInfo:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise SourceError(f"the archive has a member {name!r} outside of its folder", next_step="do not use it")
    info = tarfile.TarInfo(str(path))
    info.mtime, info.mode = mtime, 0o755 if executable else 0o644
    info.uname = info.gname = "root"
    return info


def _sized(info: tarfile.TarInfo, content: bytes) -> Member:
    info.size = len(content)
    return info, content


def _fetch(settings: Settings, source: StdebSource, file: Path) -> None:
    part = file.with_suffix(".part")
    try:
        if "://" in source.sdist:
            _download(source.sdist, part)
        else:
            shutil.copyfile(settings.root_folder / source.sdist, part)
    except URLError as exc:
        raise NetworkError(
            f"cannot fetch {_public(source.sdist)}",
            cause=str(exc.reason),
            next_step="check the address and the network",
        ) from exc
    except OSError as exc:
        raise SourceError(f"cannot read {source.sdist}", cause=str(exc), next_step="correct `sdist`") from exc
    found = sha256_file(part)
    if found != source.sha256:
        part.unlink()
        raise SourceError(
            f"{_public(source.sdist)} is not the archive that was pinned",
            cause=f"sha256 {found}, declared {source.sha256}",
            next_step="do not use it, or pin the new hash when you trust it",
        )
    part.replace(file)


def _download(url: str, part: Path) -> None:
    if not url.startswith(("https://", "http://", "file://")):
        raise SourceError(f"{url} cannot be fetched", next_step="use https://, or a path")
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, part.open("wb") as stream:  # noqa: S310
        read = 0
        while block := answer.read(1 << 20):
            read += len(block)
            if read > LARGEST_BYTES:
                raise SourceError(f"{url} is larger than {LARGEST_BYTES} bytes")
            stream.write(block)


def _public(location: str) -> str:
    """A URL without user name and password; a path says nothing elsewhere."""
    url = urlsplit(location)
    return url._replace(netloc=url.hostname or "").geturl() if url.scheme else "local"
