"""One job from its lease to its stored result.

lease ─► own folder ─► program, data, stdin ─► run behind the wall ─► collect ─► spool
             │ refused, no room                    │ cancelled
             ▼                                     ▼
      failed with a reason, or handed back      nothing is kept
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from xwhep.common.errors import ConnectionFailed, DiskFull, XwhepError
from xwhep.common.wire import JobResult, Lease, LeasedDatum, ResultFile, WorkResult
from xwhep.worker import sandbox
from xwhep.worker.assets import Asset, Assets
from xwhep.worker.board import Attempt, Board, Phase
from xwhep.worker.cache import Cache, Download
from xwhep.worker.launch import Ended, Launcher, Spare, give_to_job, open_streams
from xwhep.worker.machine import disk_free
from xwhep.worker.results import harvest, hash_file
from xwhep.worker.retry import Stopped
from xwhep.worker.session import Session
from xwhep.worker.signatures import Forged, Signers, Unsigned
from xwhep.worker.spares import Spares, make_job_folder
from xwhep.worker.spool import Parcel, Spool, listed
from xwhep.worker.trees import remove_tree

log = logging.getLogger(__name__)

REFUSED_EXIT_CODE = 126  # as shells say "found, but cannot be run"
TEXT_LIMIT = 1000  # characters of a reason or a note
_FULL_BYTES = 1024 * 1024


class Refused(Exception):
    """This job cannot run on any worker like this one; the text says why, for its owner."""


class HandBack(Exception):
    """This worker cannot run the job now, another may; the text says why, for the log."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Everything a job needs of its worker."""

    jobs: Path
    session: Session
    cache: Cache
    assets: Assets
    launcher: Launcher
    spool: Spool
    board: Board
    signers: Signers = field(default_factory=lambda: Signers(()))


@dataclass(kw_only=True)
class _Bench:
    """One job's place. `placed`: sha256 of each datum by its path in work/."""

    folder: Path
    spare: Spare | None = None
    placed: dict[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.folder / "work"


def execute(attempt: Attempt, shop: Workshop, spares: Spares | None = None) -> Parcel | None:
    """Do the whole of it; the stored result, or None when it was cancelled.

    `spares` may have a wall for it that stands already.

    Raises:
        HandBack: the job must go to another worker.
    """
    folder = shop.jobs / attempt.key
    try:
        with _bench(folder, attempt, shop, spares) as bench:
            return _executed(attempt, shop, bench)
    except Stopped:
        return None
    except DiskFull as exc:
        raise HandBack(str(exc)) from exc
    except OSError as exc:
        raise HandBack(f"this machine failed: {exc}") from exc


@contextmanager
def _bench(folder: Path, attempt: Attempt, shop: Workshop, spares: Spares | None) -> Iterator[_Bench]:
    spare = spares.take(attempt.lease) if spares else None
    try:
        if spare is None:
            make_job_folder(folder)
        else:
            folder.symlink_to(spare.folder.name)
        yield _Bench(folder=spare.folder if spare else folder, spare=spare)
    finally:
        folder.unlink() if folder.is_symlink() else remove_tree(folder)
        if spare:
            shop.launcher.drop(spare)
            remove_tree(spare.folder)


def _executed(attempt: Attempt, shop: Workshop, bench: _Bench) -> Parcel | None:
    started = time.monotonic()
    try:
        command = _prepare(attempt, shop, bench)
        shop.board.enter(attempt, Phase.RUNNING)
        log.info("%s: running %s", attempt, attempt.lease.app)
        started = time.monotonic()
        ended = _run(command, attempt, shop, bench)
    except Refused as exc:
        _empty_streams(bench)
        reason = f"worker refused: {exc}"
        return _store(attempt, shop, bench, _Account(REFUSED_EXIT_CODE, reason, time.monotonic() - started))
    if ended.cancelled:
        return None
    if ended.wall_failed:
        raise HandBack(f"the sandbox could not be built: {_first_line(bench.folder / 'stderr')}")
    reason = ended.reason or _full_disk_reason(ended, bench)
    return _store(attempt, shop, bench, _Account(ended.exit_code, reason, time.monotonic() - started))


def _prepare(attempt: Attempt, shop: Workshop, bench: _Bench) -> sandbox.Command:
    lease, source = attempt.lease, Download(shop.session, attempt.cancel)
    _check_signature(lease, shop.signers)
    asset = _asset(lease, shop.assets)
    try:
        if lease.binary:
            program = bench.folder / "app" / program_name(lease.app)
            shop.cache.place(lease.binary.sha256, lease.binary.size, program, source)
            _hand_over(program, 0o700)
        if lease.stdin:
            shop.cache.place(lease.stdin.sha256, lease.stdin.size, bench.folder / "stdin", source)
        for datum in lease.data:
            _place_datum(datum, shop.cache, source, bench)
    except (DiskFull, ConnectionFailed):
        raise
    except XwhepError as exc:
        raise Refused(f"its program or data cannot be had: {exc}") from exc
    return _command(lease, asset, shop, bench)


def _asset(lease: Lease, assets: Assets) -> Asset | None:
    if lease.binary:
        return None
    if asset := assets.installed().get(lease.shared):
        return asset
    raise Refused(
        f"the shared asset {lease.shared!r} is not installed (any more)" if lease.shared else "it has no program"
    )


def _check_signature(lease: Lease, signers: Signers) -> None:
    """A shared asset needs none: the owner of this machine installed it."""
    try:
        if lease.binary:
            signers.check(lease.app, lease.binary)
    except Unsigned as exc:
        raise HandBack(str(exc)) from exc
    except Forged as exc:
        raise Refused(str(exc)) from exc


def _place_datum(datum: LeasedDatum, cache: Cache, source: Download, bench: _Bench) -> None:
    path = safe_path(datum.name)
    if str(path) in bench.placed:
        raise Refused(f"two of its data have the name {datum.name!r}")
    target = bench.work
    try:
        for part in path.parts[:-1]:
            target /= part
            if not target.is_dir():
                target.mkdir(mode=0o700)
                give_to_job(target)
    except OSError as exc:
        raise Refused(f"the name of datum {datum.name!r} contradicts another") from exc
    cache.place(datum.sha256, datum.size, bench.work / path, source)
    _hand_over(bench.work / path, 0o600)
    bench.placed[str(path)] = datum.sha256


def _command(lease: Lease, asset: Asset | None, shop: Workshop, bench: _Bench) -> sandbox.Command:
    seen = sandbox.view(shop.launcher.isolation, bench.folder)
    marks = {"XWHEP_JOB_ID": lease.job_id, "XWHEP_ATTEMPT": str(lease.attempt)}
    try:
        environment = sandbox.environment(seen, lease.env, marks)
    except ValueError as exc:
        raise Refused(str(exc)) from exc
    if asset:
        argv: tuple[str, ...] = (str(asset.executable), *asset.arguments)
        shown = (asset.executable, *asset.folders)
    else:
        argv, shown = (str(seen.app / program_name(lease.app)),), ()
    if any("\0" in argument for argument in lease.args):
        raise Refused("an argument contains a NUL character")
    return sandbox.Command(
        argv=(*argv, *lease.args),
        environment=environment,
        folder=bench.folder,
        shown=shown,
        wall_clock_s=lease.wall_clock_s,
    )


def _run(command: sandbox.Command, attempt: Attempt, shop: Workshop, bench: _Bench) -> Ended:
    stdin = bench.folder / "stdin"
    if bench.spare:
        return shop.launcher.run(command, bench.spare.streams, attempt.cancel, bench.spare)
    with ExitStack() as stack:
        streams = open_streams(bench.folder, stdin if stdin.exists() else Path(os.devnull), stack)
        return shop.launcher.run(command, streams, attempt.cancel)


@dataclass(frozen=True)
class _Account:
    exit_code: int
    reason: str
    wall_s: float


def _store(attempt: Attempt, shop: Workshop, bench: _Bench, account: _Account) -> Parcel:
    found = harvest(bench.work, bench.placed, attempt.cancel)
    stdout, stderr = (_stream_file(bench.folder / name, attempt) for name in ("stdout", "stderr"))
    result = JobResult(
        exit_code=account.exit_code,
        stdout=stdout,
        stderr=stderr,
        files=[file for file, _ in found.files],
        wall_s=account.wall_s,
        reason=_printable(account.reason),
        note=_printable(found.note()),
    )
    message = WorkResult(job_id=attempt.lease.job_id, attempt=attempt.lease.attempt, result=result)
    paths = [bench.folder / "stdout", bench.folder / "stderr", *(path for _, path in found.files)]
    assert len(paths) == len(listed(result))  # noqa: S101 - Parcel.files pairs them by position
    if disk_free(shop.jobs) < _FULL_BYTES:
        shop.cache.clear()
    parcel = shop.spool.put(message, paths)
    log.info(
        "%s: ended with exit code %d after %.3f s, %d files",
        attempt,
        result.exit_code,
        result.wall_s,
        len(result.files),
    )
    return parcel


def _stream_file(path: Path, attempt: Attempt) -> ResultFile:
    sha256, size = hash_file(path, attempt.cancel)
    return ResultFile(path=path.name, sha256=sha256, size=size)


def _empty_streams(bench: _Bench) -> None:
    for name in ("stdout", "stderr"):
        (bench.folder / name).touch()


def _full_disk_reason(ended: Ended, bench: _Bench) -> str:
    if ended.exit_code and disk_free(bench.folder) < _FULL_BYTES:
        return "the worker's disk was full when the job ended"
    return ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:TEXT_LIMIT]


def _first_line(path: Path) -> str:
    return path.read_bytes()[:500].decode("utf-8", "replace").strip().partition("\n")[0]


def program_name(app: str) -> str:
    """The file name a program sees as its own: its app's, without what a path could be misled by."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", app).lstrip(".")[:128] or "app"


def safe_path(name: str) -> PurePosixPath:
    """The place of a datum below the job's folder.

    Raises:
        Refused: it would leave the folder.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Refused(f"the name of datum {name!r} is no path inside a job's folder")
    return path


def _hand_over(path: Path, mode: int) -> None:
    path.chmod(mode)
    give_to_job(path)
