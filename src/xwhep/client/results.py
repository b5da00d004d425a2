"""What a job made, on this machine's disk: stdout, stderr and every file, where nothing else lies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xwhep.client.connection import Server
from xwhep.client.folder import Arrival, Folder, check_together, checked_parts
from xwhep.client.show import SHORT_ID_LENGTH, short_ids
from xwhep.client.transfer import Blob, get_to_stream
from xwhep.common.errors import Conflict, JobFailed, UsageError
from xwhep.common.names import is_name
from xwhep.common.wire import FINAL_STATES, Job, JobResult, ResultFile


class Stored(NamedTuple):
    path: Path
    sha256: str
    size: int

    def record(self) -> dict[str, object]:
        return {"path": str(self.path), "sha256": self.sha256, "size": self.size}


def result_of(job: Job) -> JobResult:
    """The job's result.

    Raises:
        Conflict: it has not ended yet.
        JobFailed: it ended without ever giving one.
    """
    if job.result:
        return job.result
    if job.state not in FINAL_STATES:
        raise Conflict(f"job {job.id} is {job.state}, it has no result yet", f"xw job wait {job.id}")
    raise JobFailed(
        f"job {job.id} is {job.state} and has no result: {job.reason or 'no reason given'}", "xw job show " + job.id
    )


def store(server: Server, job: Job, output: str, force: bool) -> list[Stored]:
    """Download the result into the folder `output` (default: results-ID), all of it or an error.

    Files that are there with the very bytes stay; so a second run finishes an interrupted one.

    Raises:
        Conflict: a file is in the way and `force` is False; then nothing was written.
        ServerFailed: the server names files outside the folder, or sends other bytes than it announced.
    """
    arrivals = _arrivals(result_of(job))
    check_together([arrival.path for arrival in arrivals])
    target = Path(output) if output else Path("results-" + checked_parts(job.id)[-1][:SHORT_ID_LENGTH])
    with Folder(target, force) as folder:
        missing = [arrival for arrival in arrivals if not folder.is_there(arrival)]
        for arrival in missing:
            folder.fetch(server, arrival)
    return [Stored(target / arrival.path, arrival.blob.sha256, arrival.blob.size) for arrival in arrivals]


def folder_of(group: str) -> str:
    """The folder for the results of a group of jobs when none is named.

    Raises:
        UsageError: the group's name is none for a folder.
    """
    if not is_name(group):
        raise UsageError(f"{group!r} cannot be the name of a folder", "choose one: -o DIR")
    return f"results-{group}"


def folders(jobs: Sequence[Job], output: str) -> dict[str, Path]:
    """A folder below `output` for each job, by its id."""
    short = short_ids([job.id for job in jobs])
    return {job.id: Path(output) / checked_parts(short[job.id])[-1] for job in jobs}


def _arrivals(result: JobResult) -> list[Arrival]:
    """stdout and stderr under these names, or as `stdout.stream` where the job made a file of its own called stdout."""
    taken = {file.path.split("/")[0] for file in result.files}
    streams = [(name, getattr(result, name)) for name in ("stdout", "stderr")]
    arrivals = [_arrival(name + ".stream" if name in taken else name, file, 0o644) for name, file in streams]
    return arrivals + [_arrival(file.path, file, file.mode) for file in result.files]


def _arrival(path: str, file: ResultFile, mode: int) -> Arrival:
    return Arrival(path, Blob(file.sha256, file.size, path), mode)


def replay(server: Server, result: JobResult) -> None:
    """Write what the job wrote: its stdout to ours, its stderr to ours, both verified first."""
    sys.stdout.flush()
    sys.stderr.flush()
    for name, stream in (("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)):
        file: ResultFile = getattr(result, name)
        get_to_stream(server, Blob(file.sha256, file.size, f"the job's {name}"), stream)
