"""Waiting for jobs by long poll: a request stands open until the job changes. A server that restarts is waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from xwhep.client import text
from xwhep.client.connection import Server, in_path
from xwhep.client.listing import Wanted, list_jobs
from xwhep.common.errors import ConnectionFailed, JobFailed, NotFound, TimedOut
from xwhep.common.wire import FINAL_STATES, Job, JobState, JobSummary

POLL_S = 30.0  # how long the server may hold one request
POLL_GRACE_S = 15.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
AWAY_LIMIT_S = 600.0
TELL_EVERY_S = 1.0  # how often it is said how many jobs have ended
HASTY_S = 0.05  # an answer without news that came sooner is followed by a pause

T = TypeVar("T")


class Errand(NamedTuple):
    """What is waited for, as it stood when it was last heard of; how the waiting is taken up again; until when."""

    standing: str
    again: str
    deadline: float = float("inf")
    longest_s: float = POLL_S  # of one request


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
        path = f"/v1/jobs/{in_path(job.id)}?seen={job.revision}"
        asked_at = time.monotonic()
        news = patiently(server, path, Job, Errand(f"job {job.id} was {job.state}", f"xw job wait {job.id}", deadline))
        if _shown(news) != _shown(job):
            on_change(news)
        elif news.revision == job.revision:
            slow_down(asked_at)
        job = news
    return job


def wait_for_all(
    server: Server, wanted: Wanted, on_change: Callable[[JobSummary], None], deadline: float = float("inf")
) -> JobSummary:
    """How the jobs of a group or session ended, once all have: one request for all of them, that waits for news.

    `on_change` is told at most once a second, and at the end.

    Raises:
        NotFound: there are none.
        TimedOut, ConnectionFailed: as `wait_for`.
    """
    path, again = f"/v1/jobs/summary?{wanted.query()}", f"xw job wait {wanted.words}"
    summary = patiently(server, path, JobSummary, Errand("the jobs were not found yet", again, deadline, 0.0))
    if not summary.counts:
        raise NotFound(f"you have no jobs of {wanted.words}", "xw job list")
    on_change(summary)
    told_at = time.monotonic()
    while still_open(summary):
        if time.monotonic() >= deadline:
            raise TimedOut(f"{text.jobs(still_open(summary))} of {wanted.words} have not ended", again)
        asked_at = time.monotonic()
        errand = Errand(f"{text.jobs(still_open(summary))} of {wanted.words} had not ended", again, deadline)
        news = patiently(server, f"{path}&seen={summary.version}", JobSummary, errand)
        if news.version == summary.version:
            slow_down(asked_at)
        elif not still_open(news) or time.monotonic() - told_at >= TELL_EVERY_S:
            on_change(news)
            told_at = time.monotonic()
        summary = news
    return summary


def still_open(summary: JobSummary) -> int:
    return sum(count for state, count in summary.counts.items() if state not in FINAL_STATES)


def _shown(job: Job) -> tuple[object, ...]:
    return (job.state, job.attempt, job.worker, job.reason)


def slow_down(asked_at: float) -> None:
    """After an answer without news: a server that does not hold requests (it is stopping, say) is not hammered."""
    if time.monotonic() - asked_at < HASTY_S:
        time.sleep(FIRST_PAUSE_S)


def patiently(server: Server, path: str, kind: type[T], errand: Errand) -> T:
    """One long poll of `path`; while the server is away, more of them with growing pauses, said once."""
    deadline = errand.deadline
    pause, away_since = FIRST_PAUSE_S, 0.0
    while True:
        wait_s = max(0.0, min(errand.longest_s, deadline - time.monotonic()))
        try:
            news = server.get(f"{path}&wait={wait_s:.3f}", kind, wait_s + POLL_GRACE_S)
        except ConnectionFailed as exc:
            now = time.monotonic()
            if not away_since:
                away_since = now
                note(f"{exc}; trying again for {_minutes(AWAY_LIMIT_S)}")
            if now - away_since > AWAY_LIMIT_S:
                message = f"{exc}, and was not back in {_minutes(AWAY_LIMIT_S)}; {errand.standing}"
                raise ConnectionFailed(message, f"{errand.again}  # when the server is back") from exc
            if now >= deadline:
                raise TimedOut(f"{errand.standing} when the server went away", errand.again) from exc
            import random  # noqa: PLC0415 - a server that answers costs none of it

            time.sleep(min(pause * random.uniform(0.5, 1), max(0.0, deadline - now)))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE_S)
        else:
            if away_since:
                note("the server is back")
            return news


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} minutes"


def tell_summary(summary: JobSummary) -> None:
    """One line with a time on standard error."""
    note_line([text.moment(time.time()), *(f"{count} {state}" for state, count in summary.counts.items())])


def note_line(words: list[str]) -> None:
    sys.stderr.write(text.clean("  ".join(words)) + "\n")
    sys.stderr.flush()


def tell_change(job: Job) -> None:
    """One line with a time on standard error."""
    words = [text.moment(time.time()), job.id, job.state.value]
    if job.state == JobState.RUNNING:
        words.append(f"on {job.worker or 'a worker'}, attempt {job.attempt}")
    if job.reason and job.reason != job.state:
        words.append(f"({job.reason})")
    note_line(words)


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


def raise_unless_all_completed(server: Server, wanted: Wanted, summary: JobSummary) -> None:
    """The same for a group or session, naming one of its jobs."""
    for state, became in ((JobState.FAILED, "failed"), (JobState.CANCELLED, "cancelled")):
        if count := summary.counts.get(state.value):
            bad = wanted._replace(state=state.value)
            found = list_jobs(server, bad, 1)
            first = f"; job {found[0].id} {ending(found[0])}" if found else ""
            message = f"{text.jobs(count)} of {sum(summary.counts.values())} {became}{first}"
            raise JobFailed(message, f"xw job list {bad.words}")


def ending(job: Job) -> str:
    """`completed`, `was cancelled`, `failed with exit code 3`, `failed: wall clock limit`."""
    if job.state == JobState.CANCELLED:
        return "was cancelled"
    reason = job.reason or (job.result.reason if job.result else "")
    if job.state == JobState.FAILED and job.result and not job.result.reason:
        said = f"exit code {job.result.exit_code}"
        return f"failed with {said}" + (f": {reason}" if reason not in ("", said) else "")
    return f"{job.state}" + (f": {reason}" if reason else "")
