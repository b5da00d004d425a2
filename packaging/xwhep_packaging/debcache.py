"""Fetched .debs, by content: one folder a user, shared by all builds on the machine.

    FOLDER/debs/ab/ab12...deb      named by its sha256; written elsewhere first, then renamed
    FOLDER/debs/tmp/               what is being fetched

A file is checked by its whole hash when it comes in, and again each time it is used: one that was changed meanwhile is
taken for absent, and said so.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import archive
from xwhep_packaging.artefacts import sha256_file
from xwhep_packaging.errors import LockError, StoreError
from xwhep_packaging.lockfile import Deb

CONNECTIONS = 4
FILES_A_CALL = 16  # a start of apt's helper costs 0.05 s of one core (measured)
SHA256_DIGITS = 64
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class DebCache:
    """The folder; nothing in it is of one build alone."""

    folder: Path

    def path(self, sha256: str) -> Path:
        return self.folder / "debs" / sha256[:2] / f"{sha256}.deb"

    def has(self, deb: Deb) -> bool:
        """Whether a file of the right size is there: cheap, for a look ahead."""
        try:
            return self.path(deb.sha256).stat().st_size == deb.size
        except OSError:
            return False

    def missing(self, debs: Iterable[Deb]) -> list[Deb]:
        return [deb for deb in debs if not self.has(deb)]

    def fill(self, debs: Sequence[Deb], addresses: dict[str, str], log: Path) -> list[Deb]:
        """Fetch what is missing over several connections; returns those that no archive has any more.

        Raises:
            NetworkError: a mirror does not answer, or serves other content.
            StoreError: the folder cannot be written.
        """
        if not self.missing(debs):
            return []
        incoming = self._prepared()
        with self._filling():
            return self._fill(self.missing(debs), addresses, (incoming, log))

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """One at a time: sets share packages, and who waited finds them there. The kernel ends it with the process."""
        try:
            stream = (self.folder / "debs" / "lock").open("w")
        except OSError as exc:
            raise _unwritable(self.folder, exc) from exc
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _fill(self, wanted: Sequence[Deb], addresses: dict[str, str], places: tuple[Path, Path]) -> list[Deb]:
        incoming, log = places
        progress = Progress(len(wanted), sum(deb.size for deb in wanted), log)

        def some(debs: Sequence[Deb]) -> list[Deb]:
            files = [archive.Wanted(deb=deb, target=incoming / f"{deb.sha256}.{os.getpid()}") for deb in debs]
            try:
                gone = archive.fetch(addresses, files, log)
                came = [file for file in files if file.deb not in gone]
                for file in came:
                    self._keep(file.deb, file.target)
                progress.came([file.deb for file in came])
            finally:
                for file in files:
                    file.target.unlink(missing_ok=True)
            return gone

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            results = list(pool.map(some, _batches(wanted)))
        return [deb for gone in results for deb in gone]

    def _prepared(self) -> Path:
        incoming = self.folder / "debs" / "tmp"
        try:
            incoming.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise _unwritable(self.folder, exc) from exc
        return incoming

    def _keep(self, deb: Deb, file: Path) -> None:
        """Take a file in, by rename, when it is what the lock says."""
        if file.stat().st_size != deb.size or sha256_file(file) != deb.sha256:
            raise LockError(
                f"{deb.name} {deb.version} is not what the lock says",
                cause=f"sha256 {sha256_file(file)} instead of {deb.sha256}",
                next_step="use another mirror: XWHEP_MIRROR=ADDRESS",
            )
        target = self.path(deb.sha256)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o644)
            file.replace(target)
        except OSError as exc:
            raise _unwritable(self.folder, exc) from exc

    def copy(self, debs: Iterable[Deb], folder: Path) -> None:
        """Put checked copies into `folder`, under the names that Debian gives them.

        Raises:
            LockError: a file is missing or was changed since it came in; a changed one is removed.
        """
        for deb in debs:
            source = self.path(deb.sha256)
            target = folder / f"{deb.name}_{deb.version.replace(':', '%3a')}_{deb.arch}.deb"
            try:
                shutil.copyfile(source, target)
            except FileNotFoundError:
                raise LockError(f"{deb.name} {deb.version} is not in the cache {self.folder}") from None
            with contextlib.suppress(OSError):  # a cache that may only be read serves as well
                os.utime(source)  # when it was last used, for prune
            found = sha256_file(target)
            if found != deb.sha256:
                self._discard(source)
                raise LockError(
                    f"the cached file of {deb.name} {deb.version} was changed after it came in",
                    cause=f"{source} has the sha256 {found}; it is removed now",
                    next_step="type it again: it is fetched anew",
                )

    def _discard(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise _unwritable(self.folder, exc) from exc

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("debs/??/*.deb"))

    def prune(self, keep: frozenset[str], unused_days: float) -> tuple[int, int]:
        """Remove what is not named in `keep` (sha256) and was not used for so long; returns (files, bytes) removed."""
        limit, count, size = time.time() - unused_days * 86400, 0, 0
        for path in self.files():
            stat = path.stat()
            if path.stem not in keep and stat.st_mtime < limit:
                self._discard(path)
                count, size = count + 1, size + stat.st_size
        return count, size

    def export(self, debs: Iterable[Deb], target: Path) -> int:
        """Write the files of `debs` as one tar; returns how many.

        Raises:
            LockError: one is missing.
        """
        wanted = sorted(set(debs), key=lambda deb: deb.sha256)
        absent = self.missing(wanted)
        if absent:
            raise LockError(
                f"{len(absent)} packages are not in the cache, {absent[0].name} among them",
                next_step="scripts/doit packages, which fetches them",
            )
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with tarfile.open(temporary, "w") as tar:
                for deb in wanted:
                    tar.add(self.path(deb.sha256), f"debs/{deb.sha256}.deb")
            temporary.replace(target)
        except OSError as exc:
            raise StoreError(f"cannot write {target}", cause=str(exc), next_step="free disk space") from exc
        finally:
            temporary.unlink(missing_ok=True)
        return len(wanted)

    def take(self, source: Path) -> int:
        """Take in the files of such a tar, each only when its content is what its name says; returns how many.

        Raises:
            LockError: the file is no such tar, or one of its members was changed.
        """
        incoming, count = self._prepared(), 0
        try:
            with tarfile.open(source) as tar:
                for member in tar:
                    self._take_member(tar, member, incoming)
                    count += 1
        except (OSError, tarfile.TarError) as exc:
            if isinstance(exc, OSError) and exc.errno in UNWRITABLE:
                raise _unwritable(self.folder, exc) from exc
            raise LockError(
                f"{source} is no exported cache", cause=str(exc), next_step="scripts/doit cache export FILE"
            ) from exc
        return count

    def _take_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, incoming: Path) -> None:
        sha256 = Path(member.name).stem
        stream = tar.extractfile(member) if member.isfile() else None
        if stream is None or len(sha256) != SHA256_DIGITS or not sha256.isalnum():
            raise LockError(f"{tar.name!r} holds {member.name!r}, which is no package by content")
        temporary = incoming / f"{sha256}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                shutil.copyfileobj(stream, file)
            if sha256_file(temporary) != sha256:
                raise LockError(f"{member.name} in {tar.name!r} was changed", next_step="export it again")
            self.path(sha256).parent.mkdir(parents=True, exist_ok=True)
            temporary.chmod(0o644)
            temporary.replace(self.path(sha256))
        finally:
            temporary.unlink(missing_ok=True)


@dataclass
class Progress:
    """How much has come, as lines of the log: a terminal shows the last one while the step runs."""

    files: int
    size: int
    log: Path
    done: int = 0
    came_bytes: int = 0

    def came(self, debs: Sequence[Deb]) -> None:
        self.done, self.came_bytes = self.done + len(debs), self.came_bytes + sum(deb.size for deb in debs)
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(
                f"{self.done} of {self.files} packages, {self.came_bytes / 1e6:.0f} of {self.size / 1e6:.0f} MB\n"
            )


def _batches(debs: Sequence[Deb]) -> list[Sequence[Deb]]:
    return [debs[start : start + FILES_A_CALL] for start in range(0, len(debs), FILES_A_CALL)]


def _unwritable(folder: Path, exc: OSError) -> StoreError:
    return StoreError(
        f"the package cache {folder} cannot be written",
        cause=str(exc),
        next_step="free disk space, or choose another folder: XWHEP_CACHE=FOLDER",
    )
