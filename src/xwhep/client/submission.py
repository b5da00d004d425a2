"""Sending jobs to the server: once, however often the connection breaks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from xwhep.client import lookup
from xwhep.client.connection import MANY_TIMEOUT_S, Server
from xwhep.client.uploads import STDIN_MARK, JobFiles, is_local, local_file, references
from xwhep.common.errors import ConnectionFailed, InvalidRequest, NotAllowed, NotFound, UsageError, XwhepError
from xwhep.common.wire import MAX_BATCH, MAX_BATCH_BYTES, Job, JobBatch, JobIds, JobSpec

_NUMBERED = re.compile(r"job (\d+) of the batch: (.*)", re.DOTALL)


def submit(server: Server, spec: JobSpec) -> Job:
    """The new job. A key makes sure that it is one, also when the first answer is lost and it is sent again.

    Raises:
        NotFound, InvalidRequest: the server refuses it; the nearest names are in the next step.
        ConnectionFailed: it may be registered or not.
    """
    try:
        return server.post_again("/v1/jobs", msgspec.structs.replace(spec, key=_new_key()), Job)
    except (NotFound, InvalidRequest) as refusal:
        raise lookup.explain_refused_job(server, spec, refusal) from refusal
    except ConnectionFailed as failure:
        raise _unknown_outcome(failure, "the job") from failure


def submit_all(server: Server, specs: Sequence[JobSpec], places: Sequence[str]) -> list[str]:
    """Ids of the new jobs, all of them or none; `places` say where people find each of `specs`.

    Raises:
        UsageError: they are more than the server takes at once.
        XwhepError: as `submit`, beginning with the place of the job that is refused.
    """
    batch = JobBatch(jobs=list(specs), key=_new_key())
    check_size(batch)
    try:
        return server.post_again("/v1/jobs/bulk", batch, JobIds, MANY_TIMEOUT_S).ids
    except (NotFound, InvalidRequest, NotAllowed) as refusal:
        raise _placed(server, refusal, specs, places) from refusal
    except ConnectionFailed as failure:
        raise _unknown_outcome(failure, "the jobs") from failure


def resolve_all(server: Server, typed: Sequence[JobSpec], places: Sequence[str]) -> list[JobSpec]:
    """`typed` with its local files on the server, each of them uploaded once.

    Raises:
        UsageError: one of the files is none; then nothing is uploaded.
    """
    local = {}
    for spec, place in zip(typed, places, strict=True):
        local.update({word: place for word in references(spec) if is_local(word) and word not in local})
    for word, place in local.items():
        if word != STDIN_MARK and not Path(local_file(word)).is_file():
            raise UsageError(f"{place}: there is no file {local_file(word)}", "check the path")
    if local:
        for app in {spec.app for spec in typed}:
            lookup.find_app(server, app)
    files = JobFiles(server)
    return [files.resolved(spec) for spec in typed]


def fresh_group(kind: str) -> str:
    """A name that no other jobs share, and that sorts by time."""
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"


def check_size(batch: JobBatch) -> None:
    """Raises: UsageError: it is more than the server takes at once."""
    if len(batch.jobs) > MAX_BATCH:
        raise UsageError(
            f"{len(batch.jobs)} jobs are more than the {MAX_BATCH} that go into one submission", "split the file"
        )
    size = len(msgspec.json.encode(batch))
    if size > MAX_BATCH_BYTES:
        raise UsageError(f"the jobs are {size} bytes; one submission takes {MAX_BATCH_BYTES}", "split the file")


def _new_key() -> str:
    return os.urandom(16).hex()


def _unknown_outcome(failure: ConnectionFailed, what: str) -> ConnectionFailed:
    return ConnectionFailed(f"{failure}; {what} may be registered or not", "xw job list shows it if so")


def _placed(server: Server, refusal: XwhepError, specs: Sequence[JobSpec], places: Sequence[str]) -> XwhepError:
    """The refusal with the place of its job instead of its number."""
    found = _NUMBERED.fullmatch(str(refusal))
    if not found or int(found[1]) >= len(specs):
        return refusal
    number = int(found[1])
    plain = type(refusal)(found[2], refusal.next_step)
    better = lookup.explain_refused_job(server, specs[number], plain)
    return type(better)(f"{places[number]}: {better}", better.next_step)
