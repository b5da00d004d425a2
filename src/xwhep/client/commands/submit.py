"""`xw job submit`: upload what is local, register the job, and if so asked see it to its end."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

import msgspec

from xwhep.client import credentials, lookup, show, submission, text, waiting
from xwhep.client.commands import job_options
from xwhep.client.connection import Server
from xwhep.client.parser import Command, add_format
from xwhep.client.uploads import JobFiles, is_local, references
from xwhep.common.errors import UsageError
from xwhep.common.wire import Job, JobSpec


def _configure(parser: ArgumentParser) -> None:
    parser.usage = "xw job submit APP [options] [-- ARG ...]"
    job_options.add_all(parser)
    parser.add_argument("--wait", action="store_true", help="wait for the end; print the job's stdout and stderr")
    parser.add_argument("--output", "-o", metavar="DIR", help="with --wait: store stdout, stderr and files there")
    parser.add_argument("--force", action="store_true", help="with --output: replace files that are there")
    add_format(parser)


def _run(args: Namespace) -> int:
    if args.output and not args.wait:
        raise UsageError("--output needs --wait", "or later: xw job results ID -o DIR")
    typed = job_options.template(args)
    with Server(credentials.find()) as server:
        job = submission.submit(server, resolved(server, typed))
        if not args.wait:
            _print_submitted(job, args.format)
            return 0
        waiting.tell_change(job)
        from xwhep.client import results  # noqa: F401, PLC0415 - loaded while the job runs

        try:
            job = waiting.wait_for(server, job, waiting.tell_change)
        except KeyboardInterrupt:
            waiting.note(
                f"job {job.id} goes on; to come back: xw job wait {job.id}; to stop it: xw job cancel {job.id}"
            )
            raise
        _print_ended(server, job, args)
    sys.stdout.flush()
    waiting.raise_unless_completed([job])
    return 0


def resolved(server: Server, typed: JobSpec, files: JobFiles | None = None) -> JobSpec:
    """`typed` with whole ids, and with its local files on the server; what is wrong shows before an upload begins."""
    if any(map(is_local, references(typed))):
        lookup.find_app(server, typed.app)  # before the effort of uploading for it
    after = [lookup.find_job(server, one).id for one in typed.after]
    return (files or JobFiles(server)).resolved(msgspec.structs.replace(typed, after=after))


def _print_submitted(job: Job, form: str) -> None:
    if form == "json":
        show.print_json(job)
    else:
        show.line(text.clean(job.id))


def _print_ended(server: Server, job: Job, args: Namespace) -> None:
    from xwhep.client import results  # noqa: PLC0415 - see above

    if args.output and job.result:
        for stored in results.store(server, job, args.output, args.force):
            waiting.note(f"stored {stored.path}")
    if args.format == "json":
        show.print_json(job)
    elif job.result:
        results.replay(server, job.result)


SUBMIT = Command(
    _configure,
    _run,
    "xw job submit hello --data ./input.csv --env SEED=7 --wait -- --rounds 3\n"
    "  xw job submit render --cpus 4 --ram 2G --deadline +2h --data scene=./a.blend table.csv=my-table",
    takes_rest=True,
)
