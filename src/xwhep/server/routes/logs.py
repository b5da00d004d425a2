"""What a job writes, while it runs and after."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import FINAL_STATES, MAX_REPLICAS, Ack, Job, Output, OutputPiece
from xwhep.server.checks import MAX_ATTEMPT, check_attempt, refuse, seconds, whole_number
from xwhep.server.grid import Grid
from xwhep.server.http import MAX_WAIT_S, answer, bytes_of, grid_of, parsed, user_of, wait_for, worker_of
from xwhep.server.outputs import KEPT_BYTES, STREAMS
from xwhep.server.rights import find_job
from xwhep.server.store.records import Attempt

MAX_BODY_BYTES = 2 * KEPT_BYTES  # base64 and the rest of the message around a piece of KEPT_BYTES
MAX_OFFSET = 2**60
MAX_RUNS = 2 * MAX_REPLICAS  # more are made while they do not agree


async def take_output(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    given = parsed(await bytes_of(request, MAX_BODY_BYTES), Output)
    check_attempt(given.attempt)
    refuse(given.stream not in STREAMS, "a stream is stdout or stderr")
    refuse(not 0 <= given.offset <= MAX_OFFSET, "the offset is out of range")
    attempt = Attempt(job_id=given.job_id, number=given.attempt, worker_id=worker.id)
    if not await grid.store.jobs.is_current(attempt):
        raise Conflict(f"attempt {attempt.number} of job {attempt.job_id} is no longer yours", "stop it")
    grid.fleet.seen(worker.id)
    if grid.outputs.add(attempt, given.stream, (given.offset, given.data)):
        grid.watchers.changed(given.job_id)
    return answer(Ack())


async def show_log(request: Request) -> Response:
    await user_of(request)
    grid = grid_of(request)
    query, job_id = request.query_params, request.path_params["id"]
    stream = query.get("stream", "stdout")
    refuse(stream not in STREAMS, "a stream is stdout or stderr")
    offset = whole_number(query.get("offset", "0"), "offset", MAX_OFFSET)
    attempt = whole_number(query.get("attempt", "0"), "attempt", MAX_ATTEMPT)
    replica = whole_number(query.get("replica", "0"), "replica", MAX_RUNS)
    until = asyncio.get_running_loop().time() + seconds(query.get("wait", "0"), "wait", MAX_WAIT_S)
    run = await _run(request, job_id, replica)
    with grid.watchers.watching(run.id) as changed:
        while True:
            changed.clear()
            job = await _run(request, job_id, replica)
            piece = await _piece(grid, job, stream, (attempt, offset))
            left_s = until - asyncio.get_running_loop().time()
            if piece.data or piece.final or grid.stopping.is_set() or left_s <= 0:
                return answer(piece)
            await wait_for(changed, request, left_s)
            if await request.is_disconnected():
                return answer(piece)


async def _run(request: Request, job_id: str, replica: int) -> Job:
    """The job, or the run of it that writes: the outputs of several must not look like one.

    Raises:
        NotFound: there is no such job or replica.
        Conflict: several replicas run, and none is named.
    """
    grid = grid_of(request)
    job = await find_job(grid, await user_of(request), job_id)
    if not replica:
        if job.runs and job.state not in FINAL_STATES:
            raise Conflict(f"job {job.id} has {len(job.runs)} replicas", f"name one: xw job logs --replica 1 {job.id}")
        return job
    run = await grid.store.jobs.replica(job.id, replica)
    if run is None:
        raise NotFound(f"job {job.id} has no replica {replica}", f"see which it has: xw job show {job.id}")
    return run


async def _piece(grid: Grid, job: Job, stream: str, place: tuple[int, int]) -> OutputPiece:
    """`place` is (attempt, offset): what was read of another attempt is not what this one wrote."""
    attempt, offset = place
    if job.state not in FINAL_STATES:
        grid.outputs.watch(job.id)
        return grid.outputs.since(job.id, stream, place)
    if attempt not in (0, job.attempt):
        offset = 0
    if job.result is None:
        return OutputPiece(offset=offset, data=b"", final=True, attempt=job.attempt)
    sha256 = (job.result.stdout if stream == "stdout" else job.result.stderr).sha256
    if (small := await grid.store.assets.small(sha256)) is not None:
        return OutputPiece(offset=offset, data=small[offset:], final=True, attempt=job.attempt)
    piece = await asyncio.to_thread(_of_file, grid, sha256, offset)
    return msgspec.structs.replace(piece, attempt=job.attempt)


def _of_file(grid: Grid, sha256: str, offset: int) -> OutputPiece:
    path, size = grid.blobs.open_path(sha256)
    data = _part(path, offset)
    return OutputPiece(offset=offset, data=data, final=offset + len(data) >= size)


def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(KEPT_BYTES)


ROUTES = [
    Route("/v1/worker/output", take_output, methods=["POST"]),
    Route("/v1/jobs/{id}/logs", show_log),
]
