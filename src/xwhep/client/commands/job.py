"""`xw job ...` but for submit: what was asked of the grid, and what came of it."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from xwhep.client import credentials, results, show, text, waiting
from xwhep.client.connection import Server, in_path, jobs_path
from xwhep.client.lookup import find_job
from xwhep.client.parser import Command, add_format
from xwhep.common.wire import Job, JobState

LIST_LIMIT = 50


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise ArgumentTypeError("must be 1 or more")
    return number


def _seconds(word: str) -> float:
    number = float(word)
    if not number >= 0:
        raise ArgumentTypeError("must be 0 or more")
    return number


def _add_ids(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="the job's id, or its beginning")


def _configure_list(parser: ArgumentParser) -> None:
    parser.add_argument("--state", choices=[state.value for state in JobState], help="only jobs in this state")
    parser.add_argument(
        "--limit", metavar="N", type=_positive, default=LIST_LIMIT, help=f"at most N jobs (default: {LIST_LIMIT})"
    )
    add_format(parser)


def _list(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        jobs = server.get(jobs_path(JobState(args.state) if args.state else None, args.limit), list[Job])
    if args.format == "json":
        show.print_json(jobs)
    else:
        _print_jobs(jobs)
    return 0


def _print_jobs(jobs: list[Job]) -> None:
    short = show.short_ids([job.id for job in jobs])
    show.print_table(
        ("ID", "APP", "STATE", "EXIT", "WORKER", "SUBMITTED", "TOOK", "LABEL"),
        [
            (
                short[job.id],
                job.app,
                job.state.value,
                str(job.result.exit_code) if job.result else "-",
                job.worker,
                text.moment(job.created_at),
                _took(job),
                job.label,
            )
            for job in jobs
        ],
    )


def _took(job: Job) -> str:
    if not job.started_at:
        return "-"
    return text.duration((job.ended_at or time.time()) - job.started_at)


def _show(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        jobs = [find_job(server, one) for one in args.ids]
    if args.format == "json":
        show.print_json(jobs[0] if len(jobs) == 1 else jobs)
        return 0
    for number, job in enumerate(jobs):
        if number:
            show.line("")
        show.print_facts(_facts(job))
    return 0


def _facts(job: Job) -> list[tuple[str, str]]:
    facts = [
        ("id", job.id),
        ("app", job.app),
        ("arguments", " ".join(job.args)),
        ("environment", " ".join(f"{name}={value}" for name, value in job.env.items())),
        ("stdin", job.stdin),
        ("data", " ".join(job.data)),
        ("label", job.label),
        ("owner", job.owner),
        ("state", job.state.value),
        ("reason", job.reason),
        ("attempt", str(job.attempt) if job.attempt else ""),
        ("worker", job.worker),
        ("submitted", text.moment(job.created_at)),
        ("started", text.moment(job.started_at)),
        ("ended", text.moment(job.ended_at)),
    ]
    if job.result:
        facts += [
            ("exit code", str(job.result.exit_code)),
            ("wall clock", text.duration(job.result.wall_s)),
            ("stdout", text.size(job.result.stdout.size)),
            ("stderr", text.size(job.result.stderr.size)),
            *(
                (f"file {number}", f"{file.path}  {text.size(file.size)}")
                for number, file in enumerate(job.result.files, 1)
            ),
        ]
    return facts


def _configure_show(parser: ArgumentParser) -> None:
    _add_ids(parser)
    add_format(parser)


def _configure_wait(parser: ArgumentParser) -> None:
    _add_ids(parser)
    parser.add_argument("--timeout", metavar="S", type=_seconds, help="give up after S seconds (default: never)")
    add_format(parser)


def _wait(args: Namespace) -> int:
    deadline = float("inf") if args.timeout is None else time.monotonic() + args.timeout
    ended: list[Job] = []
    with Server(credentials.find()) as server:
        jobs = [find_job(server, one) for one in args.ids]
        try:
            for job in jobs:
                waiting.tell_change(job)
                ended.append(waiting.wait_for(server, job, waiting.tell_change, deadline))
        except KeyboardInterrupt:
            waiting.note("the jobs go on; to wait again: xw job wait " + " ".join(job.id for job in jobs))
            raise
    if args.format == "json":
        show.print_json(ended[0] if len(ended) == 1 else ended)
    else:
        _print_jobs(ended)
    sys.stdout.flush()
    waiting.raise_unless_completed(ended)
    return 0


def _configure_results(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id, or its beginning")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder to write into (default: results-ID, here)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    add_format(parser)


def _results(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        job = find_job(server, args.id)
        stored = results.store(server, job, args.output or "", args.force)
    if args.format == "json":
        show.print_json([{"path": str(one.path), "sha256": one.sha256, "size": one.size} for one in stored])
    else:
        show.print_table(
            ("FILE", "SIZE", "SHA256"), [(str(one.path), text.size(one.size), one.sha256[:12]) for one in stored]
        )
    return 0


def _cancel(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        for one in args.ids:
            job = find_job(server, one)
            job = server.post(f"/v1/jobs/{in_path(job.id)}/cancel", None, Job)
            show.line(text.clean(f"{job.id} {job.state}"))
    return 0


def _rm(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        for one in args.ids:
            job = find_job(server, one)
            server.delete(f"/v1/jobs/{in_path(job.id)}")
            show.line(text.clean(f"{job.id} removed"))
    return 0


LIST = Command(_configure_list, _list, "xw job list --state running")
SHOW = Command(_configure_show, _show, "xw job show 3f9a1c07")
WAIT = Command(_configure_wait, _wait, "xw job wait 3f9a1c07 --timeout 600")
RESULTS = Command(_configure_results, _results, "xw job results 3f9a1c07 -o ./out")
CANCEL = Command(_add_ids, _cancel, "xw job cancel 3f9a1c07")
RM = Command(_add_ids, _rm, "xw job rm 3f9a1c07")
