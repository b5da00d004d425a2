"""Waiting for jobs by long poll: a request stands open until the job changes. A server that restarts is waited for."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from xwhep.client import text
from xwhep.client.connection import Server, in_path
from xwhep.common.errors import ConnectionFailed, JobFailed, TimedOut
from xwhep.common.wire import FINAL_STATES, Job, JobState

POLL_S = 30.0  # how long the server may hold one request
POLL_GRACE_S = 15.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
AWAY_LIMIT_S = 600.0
HASTY_S = 0.05  # an answer without news that came sooner is followed by a pause


def wait_for(server: Server, job: Job, on_change: Callable[[Job], None], deadline: float = float("inf")) -> Job:
    """The job once it is in a final state; `on_change` is told each revision that differs in what it shows.

    `deadline` is a moment of time.monotonic().

    Raises:
        TimedOut: the deadline came first.
        ConnectionFailed: the server did not answer for 10 minutes.
    """
    while job.state not in FINAL_STATES:
        if time.monotonic() >= deadline:
            raise TimedOut(f"job {job.id} is still {job.state}", f"xw job wait {job.id}")
        asked_at = time.monotonic()
        news = _ask_patiently(server, job, deadline)
        if _shown(news) != _shown(job):
            on_change(news)
        elif news.revision == job.revision and time.monotonic() - asked_at < HASTY_S:
            time.sleep(FIRST_PAUSE_S)  # the server does not hold requests (it is stopping, say)
        job = news
    return job


def _shown(job: Job) -> tuple[object, ...]:
    return (job.state, job.attempt, job.worker, job.reason)


def _ask_patiently(server: Server, job: Job, deadline: float) -> Job:
    """One long poll; while the server is away, more of them with growing pauses, said once."""
    pause, away_since = FIRST_PAUSE_S, 0.0
    while True:
        wait_s = max(0.0, min(POLL_S, deadline - time.monotonic()))
        try:
            news = server.get(
                f"/v1/jobs/{in_path(job.id)}?seen={job.revision}&wait={wait_s:.3f}", Job, wait_s + POLL_GRACE_S
            )
        except ConnectionFailed as exc:
            now = time.monotonic()
            if not away_since:
                away_since = now
                note(f"{exc}; trying again until it is back")
            if now - away_since > AWAY_LIMIT_S:
                raise
            if now >= deadline:
                raise TimedOut(
                    f"job {job.id} was {job.state} when the server went away", f"xw job wait {job.id}"
                ) from exc
            time.sleep(min(pause * random.uniform(0.5, 1), max(0.0, deadline - now)))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE_S)
        else:
            if away_since:
                note("the server is back")
            return news


def tell_change(job: Job) -> None:
    """One line with a time on standard error."""
    words = [text.moment(time.time()), job.id, job.state.value]
    if job.state == JobState.RUNNING:
        words.append(f"on {job.worker or 'a worker'}, attempt {job.attempt}")
    if job.reason and job.reason != job.state:
        words.append(f"({job.reason})")
    sys.stderr.write(text.clean("  ".join(words)) + "\n")
    sys.stderr.flush()


def note(message: str) -> None:
    sys.stderr.write(f"xw: {text.clean(message)}\n")
    sys.stderr.flush()


def raise_unless_completed(jobs: list[Job]) -> None:
    """Say how it ended when it did not end well.

    Raises:
        JobFailed: one of the jobs failed or was cancelled.
    """
    bad = [job for job in jobs if job.state != JobState.COMPLETED]
    if bad:
        more = f" (and {len(bad) - 1} more of {len(jobs)})" if len(bad) > 1 else ""
        raise JobFailed(f"job {bad[0].id} {ending(bad[0])}{more}", f"xw job show {bad[0].id}")


def ending(job: Job) -> str:
    """`completed`, `was cancelled`, `failed with exit code 3`, `failed: wall clock limit`."""
    if job.state == JobState.CANCELLED:
        return "was cancelled"
    reason = job.reason or (job.result.reason if job.result else "")
    if job.state == JobState.FAILED and job.result and not job.result.reason:
        said = f"exit code {job.result.exit_code}"
        return f"failed with {said}" + (f": {reason}" if reason not in ("", said) else "")
    return f"{job.state}" + (f": {reason}" if reason else "")
