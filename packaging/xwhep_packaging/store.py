"""Keys, manifests, locking and atomic publication under _build/; the only joiner of paths there.

    key ──> lock ──> made already? ──yes──> Output
                          │ no
                     temporary folder ──> files written, hashed, fsynced ──> renamed to <stage>/<key>/

A reader therefore sees the old state or the new one, whatever is killed when. The store is the truth: a task is up to
date exactly when the manifest of its key is there and its files are as recorded. Recorded is a stat fingerprint, which
costs microseconds; where it differs, whole hashes decide.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from xwhep_packaging.artefacts import FileRecord, Manifest, Output, digest_over, sha256_file
from xwhep_packaging.errors import PipelineError, StoreError

MANIFEST = "manifest.json"
FINGERPRINT = "fingerprint.json"  # beside the manifest, because it holds times, which two equal outputs do not share
DETAILS = "inputs.json"  # what the inputs consist of: for `doit explain` alone
HISTORY = "history.jsonl"
STAMP_S = 86400.0


class Recipe(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything that decides an output: what it is called and, in words, each input with its digest or value.

    `files` are the inputs that consist of files: the digest of each, so that the one that changed can be named.
    `origins` decides nothing: what an input's digest was taken of, for the same purpose.
    """

    stage: str
    name: str
    inputs: Mapping[str, str]
    files: Mapping[str, Mapping[str, str]] = {}
    origins: Mapping[str, str] = {}

    @cached_property
    def decided(self) -> dict[str, str]:
        """All inputs, sorted; those of files by one digest."""
        return dict(sorted({**self.inputs, **{name: digest_over(some) for name, some in self.files.items()}}.items()))

    @cached_property
    def key(self) -> str:
        text = json.dumps([self.stage, self.name, list(self.decided.items())])
        return hashlib.sha256(text.encode()).hexdigest()


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history: a step was made, in `seconds`, by the run that began at `run` (Unix seconds). `end` is
    `at` with its fraction; lines that an older pipeline wrote have neither."""

    step: str
    key: str
    seconds: float
    at: int
    end: float = 0
    run: float = 0


class _Details(msgspec.Struct, frozen=True, kw_only=True):
    """inputs.json: what the inputs of an output consisted of."""

    files: dict[str, dict[str, str]] = {}
    origins: dict[str, str] = {}


class Draft(msgspec.Struct, kw_only=True):
    """An output being made: a folder to write into, and facts for the manifest."""

    folder: Path
    log: Path
    facts: dict[str, Any] = {}


class Store(msgspec.Struct, frozen=True, eq=False):
    """The folder of everything made, `_build` by default. `run` is when the run that uses it began (Unix seconds)."""

    root: Path
    run: float = msgspec.field(default_factory=time.time)

    def log(self, stage: str, name: str) -> Path:
        return self.root / "logs" / f"{stage}-{name}.log"

    def failed(self, stage: str, name: str) -> Path:
        """What a failed step left, for a person to look at."""
        return self.root / "failed" / f"{stage}-{name}"

    @property
    def failure(self) -> Path:
        """The record of the last failure; there is none when all is well."""
        return self.root / "failure.json"

    def scratch(self, name: str) -> Path:
        """A folder for what is kept between runs but is no output, such as mirrors of git repositories."""
        folder = self.root / name
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def find(self, recipe: Recipe) -> Output | None:
        """The output of this recipe, if it is there and as it was recorded; a damaged one counts as absent."""
        folder = self.folder(recipe.stage, recipe.key)
        try:
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
            output = Output(folder=folder, manifest=manifest)
            intact = (folder / FINGERPRINT).read_bytes() == _fingerprint(folder, manifest.files)
            if not intact and self.verified(output):
                return None
            if not intact:  # copied from another disk, say: the same bytes under new times
                write_durably(folder / FINGERPRINT, _fingerprint(folder, manifest.files))
        except (OSError, msgspec.DecodeError):
            return None
        self._stamp(folder)
        return output

    def _stamp(self, folder: Path) -> None:
        """Say once a day that it was used: the fingerprint's own time is free for that."""
        with contextlib.suppress(OSError):
            if time.time() - self.used(folder) > STAMP_S:
                os.utime(folder / FINGERPRINT)

    def used(self, folder: Path) -> float:
        """When an output was made, or a run found it the last time (Unix seconds, to the day)."""
        return (folder / FINGERPRINT).stat().st_mtime

    def verified(self, output: Output) -> list[str]:
        """The names of files that no longer have their recorded hash: an empty list is good."""
        return [
            name
            for name, record in output.manifest.files.items()
            if not (output.folder / name).is_file() or sha256_file(output.folder / name) != record.sha256
        ]

    def make(
        self, recipe: Recipe, maker: Callable[[Draft], None], accept: Callable[[Output], bool] = lambda output: True
    ) -> Output:
        """The output of this recipe, made now unless it is there already and `accept` finds it whole.

        Two runs that want the same key share it: the second waits for the first.

        Raises:
            StoreError: the disk is full or cannot be written.
        """
        with self.locked(f"{recipe.stage}-{recipe.key}"):
            found = self.find(recipe)
            return found if found and accept(found) else self._make_locked(recipe, maker)

    def _make_locked(self, recipe: Recipe, maker: Callable[[Draft], None]) -> Output:
        temporary = self.root / "tmp" / f"{recipe.stage}-{recipe.key[:16]}"
        log = self.log(recipe.stage, recipe.name)
        with _disk_errors(temporary):
            remove_tree(temporary)  # what a killed run left: the lock says that nobody writes there now
            temporary.mkdir(parents=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("")
            draft = Draft(folder=temporary, log=log)
        try:
            with _full_disk(temporary):
                maker(draft)
            with _disk_errors(temporary):
                return self._publish(recipe, draft)
        except StoreError:
            raise  # keeping the remains would keep the disk full
        except PipelineError:
            self._keep_failed(recipe, temporary)
            raise
        finally:
            remove_tree(temporary)

    def _keep_failed(self, recipe: Recipe, temporary: Path) -> None:
        """The next failure of the same name replaces it."""
        target = self.failed(recipe.stage, recipe.name)
        with contextlib.suppress(OSError):
            target.parent.mkdir(exist_ok=True)
            remove_tree(target)
            temporary.rename(target)

    def _publish(self, recipe: Recipe, draft: Draft) -> Output:
        files = {
            str(path.relative_to(draft.folder)): path for path in sorted(draft.folder.rglob("*")) if path.is_file()
        }
        records = {name: FileRecord(path.stat().st_size, sha256_file(path)) for name, path in files.items()}
        manifest = Manifest(
            stage=recipe.stage,
            name=recipe.name,
            key=recipe.key,
            inputs=recipe.decided,
            files=records,
            facts=draft.facts,
        )
        write_durably(draft.folder / DETAILS, msgspec.json.encode({"files": recipe.files, "origins": recipe.origins}))
        write_durably(draft.folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        write_durably(draft.folder / FINGERPRINT, _fingerprint(draft.folder, records))
        for path in files.values():
            sync(path)
        target = self.folder(recipe.stage, recipe.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_tree(target)  # a damaged one
        draft.folder.rename(target)
        sync(target.parent)
        return Output(folder=target, manifest=manifest)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of that name; the kernel lets go of it when the process dies."""
        path = self.root / "locks" / f"{name[:80]}.lock"
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("w")
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def abandoned(self) -> Iterator[Path]:
        """What killed runs were making, each while its lock is held: nobody makes it now."""
        for folder in sorted((self.root / "tmp").glob("*")):
            for lock in (self.root / "locks").glob(f"{folder.name}*.lock"):
                with lock.open() as stream, contextlib.suppress(BlockingIOError):
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield folder

    def remember_seconds(self, name: str, key: str, seconds: float) -> None:
        """Append how long a step took that is now made; one short line, so that two runs at once do not mix theirs."""
        now = time.time()
        entry = Made(
            step=name, key=key, seconds=round(seconds, 3), at=int(now), end=round(now, 3), run=round(self.run, 3)
        )
        with _disk_errors(self.root), (self.root / HISTORY).open("ab") as stream:
            stream.write(msgspec.json.encode(entry) + b"\n")

    def history(self) -> list[Made]:
        """What was made, oldest first; lines that a full disk cut short are left out."""
        try:
            lines = (self.root / HISTORY).read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=Made))
        return found

    def last_seconds(self, keys: Mapping[str, str]) -> dict[str, float]:
        """How long each step took when its present key was made."""
        found = {entry.step: entry.seconds for entry in self.history() if keys.get(entry.step) == entry.key}
        return {name: found[name] for name in keys if name in found}

    def recorded(self, stage: str, key: str) -> Recipe | None:
        """What decided an output that is there, whether or not it is whole."""
        folder = self.folder(stage, key)
        try:
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
            known = (folder / DETAILS).read_bytes() if (folder / DETAILS).exists() else b"{}"
            details = msgspec.json.decode(known, type=_Details)
        except (OSError, msgspec.DecodeError):
            return None
        inputs = {name: value for name, value in manifest.inputs.items() if name not in details.files}
        return Recipe(stage=stage, name=manifest.name, inputs=inputs, files=details.files, origins=details.origins)

    def keys(self, stage: str) -> list[str]:
        """The keys of all outputs of a stage, the newest first."""
        manifests = (self.root / stage).glob(f"*/{MANIFEST}")
        return [path.parent.name for path in sorted(manifests, key=lambda path: -path.stat().st_mtime_ns)]

    def manifest(self, key: str) -> Manifest | None:
        """What is recorded under a key, whichever stage it is of; nothing is checked."""
        for path in self.root.glob(f"*/{key}/{MANIFEST}"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                return msgspec.json.decode(path.read_bytes(), type=Manifest)
        return None

    def write_latest(self, report: Mapping[str, Any]) -> Path:
        """Replace latest.json, which names the last build; that of another build is kept as previous.json."""
        path, known = self.root / "latest.json", self.read_latest()
        with _disk_errors(path):
            if known and any(known.get(name) != report.get(name) for name in ("commit", "keys")):
                write_durably(self.root / "previous.json", (json.dumps(known, indent=2) + "\n").encode())
            write_durably(path, (json.dumps(report, indent=2) + "\n").encode())
        return path

    def read_latest(self) -> dict[str, Any] | None:
        return self._read("latest.json")

    def read_previous(self) -> dict[str, Any] | None:
        """latest.json as it was before the last build; None after the first."""
        return self._read("previous.json")

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            report = json.loads((self.root / name).read_bytes())
        except (OSError, ValueError):
            return None
        return report if isinstance(report, dict) else None


def write_durably(path: Path, content: bytes) -> None:
    """Write all of it or nothing: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Have every file and folder below it on the disk."""
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def remove_tree(folder: Path) -> None:
    """Remove `folder` and all below it; one that is not there is as good as removed."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's entries, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fingerprint(folder: Path, files: Mapping[str, FileRecord]) -> bytes:
    """Size, modification and change time (ns) of each file. No tool can set the change time back, so a file that was
    written again under its old modification time is noticed."""
    stats = {name: (folder / name).stat() for name in files}
    rows = {name: [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in sorted(stats.items())}
    return json.dumps(rows).encode()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        with _full_disk(path):
            yield
    except OSError as exc:
        raise StoreError(
            f"cannot write {path}", cause=str(exc), next_step="check the folder's rights, or set XWHEP_STORE"
        ) from exc


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """A full disk is nobody's mistake; any other OSError of a maker is a defect, and keeps its traceback."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreError(
            f"the disk is full at {path}", cause=str(exc), next_step="free disk space, then type it again"
        ) from exc
