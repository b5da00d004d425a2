"""Results of jobs, one by one or many in a message.

A result names its files by their hashes. Their contents were uploaded before, or, when they are small, come in the same
message: then they are kept in the same transaction, and the worker has proved to have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from xwhep.common.errors import InvalidRequest, XwhepError
from xwhep.common.wire import Ack, JobResult, ResultFile, WorkResult
from xwhep.common.wire_bulk import (
    INLINE_BYTES,
    MAX_RESULTS,
    MAX_RESULTS_BYTES,
    Outcome,
    Outcomes,
    WorkResults,
)
from xwhep.server.auth import WorkerPrincipal
from xwhep.server.checks import check_attempt, check_result, refuse
from xwhep.server.grid import Grid
from xwhep.server.http import answer, body_of, bytes_of, grid_of, parsed, worker_of
from xwhep.server.logs import log_event, log_events
from xwhep.server.possession import check_held
from xwhep.server.routes.fixed import FixedPost
from xwhep.server.store.records import NO_CONTENTS, REFUSED, Attempt, Delivery, Finished, LossRule


async def deliver(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    delivery = await _checked(grid, worker, (await body_of(request, WorkResult), NO_CONTENTS))
    grid.fleet.seen(worker.id)
    job = await grid.store.jobs.finish(delivery)
    log_event("job ended", job=job.id, attempt=job.attempt, state=job.state.value, worker=worker.name)
    return answer(Ack())


async def deliver_many(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    given = parsed(await bytes_of(request, MAX_RESULTS_BYTES), WorkResults)
    refuse(len(given.results) > MAX_RESULTS, f"a message has at most {MAX_RESULTS} results")
    contents = _named(given.contents)
    if contents:
        grid.blobs.check_room(sum(map(len, contents.values())))
    grid.fleet.seen(worker.id)
    outcomes = await _outcomes(grid, worker, (given.results, contents))
    ended = [outcome for outcome in outcomes if isinstance(outcome, Finished)]
    log_events(
        "job ended",
        ({"job": one.id, "attempt": one.attempt, "state": one.state.value, "worker": worker.name} for one in ended),
    )
    return answer(Outcomes(outcomes=[_told(outcome) for outcome in outcomes]))


def _named(contents: Sequence[bytes]) -> dict[str, bytes]:
    """By their hashes, which are made here: nobody can claim one."""
    refuse(any(len(content) > INLINE_BYTES for content in contents), f"a content has at most {INLINE_BYTES} bytes")
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


async def _outcomes(
    grid: Grid, worker: WorkerPrincipal, given: tuple[Sequence[WorkResult], Mapping[str, bytes]]
) -> list[Finished | XwhepError]:
    """In the order of the results; those that are in order are written in one transaction."""
    results, contents = given
    checked: list[Delivery | XwhepError] = []
    for result in results:
        try:
            checked.append(await _checked(grid, worker, (result, contents)))
        except XwhepError as error:
            checked.append(error)
    deliveries = [one for one in checked if isinstance(one, Delivery)]
    finished = iter(await grid.store.jobs.finish_many(deliveries, contents) if deliveries else [])
    return [next(finished) if isinstance(one, Delivery) else one for one in checked]


async def _checked(grid: Grid, worker: WorkerPrincipal, given: tuple[WorkResult, Mapping[str, bytes]]) -> Delivery:
    """Raises: InvalidRequest; NotFound: a file's content is neither here nor in the message."""
    (message, contents), result = given, given[0].result
    check_attempt(message.attempt)
    check_result(result)
    for file in (result.stdout, result.stderr, *result.files):
        await _check_file(grid, worker, (file, contents))
    attempt = Attempt(job_id=message.job_id, number=message.attempt, worker_id=worker.id)
    return Delivery(attempt=attempt, result=result, rule=await _rule(grid, attempt, result))


async def _check_file(grid: Grid, worker: WorkerPrincipal, given: tuple[ResultFile, Mapping[str, bytes]]) -> None:
    file, contents = given
    if (content := contents.get(file.sha256)) is None:
        await check_held(grid, worker.holder, file.sha256, file.size)
    elif len(content) != file.size:
        raise InvalidRequest(f"the content {file.sha256} has {len(content)} bytes, not {file.size}", "correct the size")


async def _rule(grid: Grid, attempt: Attempt, result: JobResult) -> LossRule:
    """What becomes of the job should the worker not have been able to run it."""
    kinds = await grid.store.jobs.kind_of_job(attempt.job_id) if result.reason.startswith(REFUSED) else []
    return grid.retries.rule(kinds[0].id, attempt.worker_id) if kinds else grid.retries.plain_rule()


def _told(outcome: Finished | XwhepError) -> Outcome:
    if isinstance(outcome, Finished):
        return Outcome()
    return Outcome(code=outcome.code, message=str(outcome), next_step=outcome.next_step)


ROUTES = [
    FixedPost("/v1/worker/results", deliver_many),
    FixedPost("/v1/worker/result", deliver),
]
