"""`xw job wait`, `results`, `logs`: what becomes of jobs, and what they made."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

import msgspec

from xwhep.client import credentials, following, results, show, text, waiting
from xwhep.client.commands.job import print_jobs
from xwhep.client.commands.selection import add_selection, add_shared, shared
from xwhep.client.connection import Server, in_path
from xwhep.client.listing import Wanted, list_jobs
from xwhep.client.lookup import find_job
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import Conflict, JobFailed, NotFound
from xwhep.common.wire import FINAL_STATES, Job, JobState, JobSummary


def _seconds(word: str) -> float:
    number = float(word)
    if not number >= 0:
        raise ArgumentTypeError("must be 0 or more")
    return number


def _configure_wait(parser: ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--timeout", metavar="S", type=_seconds, help="give up after S seconds (default: never)")
    add_format(parser)


def _wait(args: Namespace) -> int:
    together = shared(args)
    deadline = float("inf") if args.timeout is None else time.monotonic() + args.timeout
    with Server(credentials.find()) as server:
        if together:
            return wait_together(server, together, args.format, deadline)
        ended = _wait_each(server, args.ids, deadline)
    if args.format == "json":
        show.print_json(ended[0] if len(ended) == 1 else ended)
    else:
        print_jobs(ended)
    sys.stdout.flush()
    waiting.raise_unless_completed(ended)
    return 0


def _wait_each(server: Server, ids: list[str], deadline: float) -> list[Job]:
    ended: list[Job] = []
    jobs = [find_job(server, one) for one in ids]
    try:
        for job in jobs:
            waiting.tell_change(job)
            ended.append(waiting.wait_for(server, job, waiting.tell_change, deadline))
    except KeyboardInterrupt:
        waiting.note("the jobs go on; to wait again: xw job wait " + " ".join(job.id for job in jobs))
        raise
    return ended


def wait_together(server: Server, wanted: Wanted, form: str, deadline: float = float("inf")) -> int:
    """Wait for the jobs of a group or session, and print how many ended how.

    Raises:
        JobFailed: one of them did not end well.
        NotFound, TimedOut, ConnectionFailed: see `waiting.wait_for_all`.
    """
    try:
        summary = waiting.wait_for_all(server, wanted, waiting.tell_summary, deadline)
    except KeyboardInterrupt:
        waiting.note(f"the jobs go on; to wait again: xw job wait {wanted.words}")
        raise
    if form == "json":
        show.print_json(summary.counts)
    else:
        _print_counts(summary)
    sys.stdout.flush()
    waiting.raise_unless_all_completed(server, wanted, summary)
    return 0


def _print_counts(summary: JobSummary) -> None:
    show.print_table(("STATE", "JOBS"), [(state, str(count)) for state, count in summary.counts.items()])


def _configure_results(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="?", default="", help="the job's id, or its beginning")
    add_shared(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write into, one for each job of a group (default: results-ID)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    add_format(parser)


def _results(args: Namespace) -> int:
    together = shared(args)
    with Server(credentials.find()) as server:
        if together:
            return _results_together(server, together, args)
        stored = results.store(server, find_job(server, args.ids), args.output or "", args.force)
    if args.format == "json":
        show.print_json([one.record() for one in stored])
    else:
        show.print_table(
            ("FILE", "SIZE", "SHA256"), [(str(one.path), text.size(one.size), one.sha256[:12]) for one in stored]
        )
    return 0


def _results_together(server: Server, wanted: Wanted, args: Namespace) -> int:
    jobs = list_jobs(server, wanted)[::-1]
    if not jobs:
        raise NotFound(f"you have no jobs of {wanted.words}", "xw job list")
    folders = results.folders(jobs, args.output or results.folder_of(wanted.group or wanted.session))
    stored = {job.id: results.store(server, job, str(folders[job.id]), args.force) for job in jobs if job.result}
    if args.format == "json":
        show.print_json([_record(job, stored.get(job.id)) for job in jobs])
    else:
        rows = [(job.id, job.label, job.state.value, _folder(job, str(folders[job.id]))) for job in jobs]
        show.print_table(("ID", "LABEL", "STATE", "FOLDER"), rows)
    sys.stdout.flush()
    _raise_unless_all_stored(jobs, wanted)
    return 0


def _folder(job: Job, folder: str) -> str:
    return folder if job.result else "-"


def _record(job: Job, stored: list[results.Stored] | None) -> dict[str, object]:
    files = [one.record() for one in stored or []]
    return {"id": job.id, "label": job.label, "state": job.state.value, "files": files}


def _raise_unless_all_stored(jobs: list[Job], wanted: Wanted) -> None:
    going = sum(job.state not in FINAL_STATES for job in jobs)
    if going:
        raise Conflict(f"{going} of {len(jobs)} jobs have no result yet", f"xw job wait {wanted.words}")
    without = sum(job.result is None for job in jobs)
    if without:
        raise JobFailed(f"{without} of {len(jobs)} jobs ended without a result", f"xw job list {wanted.words}")


def _configure_logs(parser: ArgumentParser) -> None:
    parser.description = (
        "Write what a job has written so far, byte by byte. The worker of a running job is asked for it, which takes\n"
        "a few seconds; the last MiB is to be had. Of an ended job it is all. While replicas of a job run, name one."
    )
    parser.add_argument("id", metavar="ID", help="the job's id, or its beginning")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends, then exit as job wait")
    parser.add_argument(
        "--replica", metavar="N", type=_number, default=0, help="what replica N writes, of a job that has several"
    )
    parser.add_argument("--stderr", action="store_true", help="its standard error in place of its standard output")


def _number(word: str) -> int:
    number = int(word)
    if number < 1:
        raise ArgumentTypeError("replicas are counted from 1")
    return number


def _writer(job: Job, replica: int) -> Job:
    """The job as that replica of it stands; itself when none is named.

    Raises:
        NotFound: it has no such replica.
    """
    if not replica:
        if job.result and (agreed := [str(run.number) for run in job.runs if run.agreed]):
            waiting.note(f"this is the result of the replicas {', '.join(agreed)}; --replica N shows that of one")
        return job
    for run in job.runs:
        if run.number == replica:
            state = JobState(run.state)
            return msgspec.structs.replace(
                job, state=state, worker=run.worker, result=None, reason=f"replica {replica}"
            )
    raise NotFound(f"job {job.id} has no replica {replica}", f"xw job show {job.id}")


def _logs(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        job = _writer(find_job(server, args.id), args.replica)
        source = following.Source(job, "stderr" if args.stderr else "stdout", args.replica)
        log = following.Log(server, source, sys.stdout.buffer)
        if not args.follow:
            log.so_far()
            return 0
        try:
            log.follow()
        except KeyboardInterrupt:
            waiting.note(f"job {job.id} goes on; to come back: {source.again}")
            raise
        ended = _writer(server.get(f"/v1/jobs/{in_path(job.id)}", Job), args.replica)
    waiting.tell_change(ended)
    waiting.raise_unless_completed([ended])
    return 0


WAIT = Command(_configure_wait, _wait, "xw job wait 3f9a1c07 --timeout 600\n  xw job wait --group night")
RESULTS = Command(
    _configure_results, _results, "xw job results 3f9a1c07 -o ./out\n  xw job results --group night -o ./out"
)
LOGS = Command(_configure_logs, _logs, "xw job logs -f 3f9a1c07\n  xw job logs --replica 2 3f9a1c07")
