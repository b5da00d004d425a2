"""`xw job submit`: upload what is local, register the job, and if so asked see it to its end."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace

from xwhep.client import credentials, lookup, results, show, text, uploads, waiting
from xwhep.client.connection import Server
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import ConnectionFailed, InvalidRequest, NotFound, UsageError
from xwhep.common.wire import Job, JobSpec

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE_HELP = "a path with a slash (./f) or @f is a local file, uploaded first; else a name or id on the server"


def _configure(parser: ArgumentParser) -> None:
    parser.usage = "xw job submit APP [options] [-- ARG ...]"
    parser.add_argument("app", metavar="APP", help="the app to run")
    parser.add_argument("args", metavar="ARG", nargs="*", help="its arguments; after -- they may begin with a dash")
    parser.add_argument(
        "--stdin", metavar="FILE|DATUM", default="", help=f"the job's standard input: {_FILE_HELP}; - is ours"
    )
    parser.add_argument(
        "--data",
        metavar="FILE|DATUM",
        nargs="+",
        action="extend",
        default=[],
        help="files for the job's folder, named alike",
    )
    parser.add_argument(
        "--env", metavar="K=V", nargs="+", action="extend", default=[], help="environment variables of the job"
    )
    parser.add_argument("--label", metavar="L", default="", help="a word of yours, shown in lists")
    parser.add_argument("--wait", action="store_true", help="wait for the end; print the job's stdout and stderr")
    parser.add_argument("--output", "-o", metavar="DIR", help="with --wait: store stdout, stderr and files there")
    parser.add_argument("--force", action="store_true", help="with --output: replace files that are there")
    add_format(parser)


def _run(args: Namespace) -> int:
    if args.output and not args.wait:
        raise UsageError("--output needs --wait", "or later: xw job results ID -o DIR")
    environment = dict(_pair(word) for word in args.env)
    with Server(credentials.find()) as server:
        job = _submit(server, args, environment)
        if not args.wait:
            _print_submitted(job, args.format)
            return 0
        waiting.tell_change(job)
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


def _submit(server: Server, args: Namespace, environment: dict[str, str]) -> Job:
    if any(map(uploads.is_local, [args.stdin, *args.data])):
        lookup.check_app(server, args.app)
    spec = JobSpec(
        app=args.app,
        args=[*args.args, *args.rest],
        env=environment,
        stdin=uploads.put_stdin_for_job(server, args.stdin) if args.stdin else "",
        data=[uploads.put_for_job(server, one) for one in args.data],
        label=args.label,
    )
    try:
        return server.post("/v1/jobs", spec, Job)
    except (NotFound, InvalidRequest) as refusal:
        raise lookup.explain_refused_job(server, spec, refusal) from refusal
    except ConnectionFailed as failure:
        raise ConnectionFailed(
            f"{failure}; the job may be registered or not", "xw job list shows it if it is"
        ) from failure


def _print_submitted(job: Job, form: str) -> None:
    if form == "json":
        show.print_json(job)
    else:
        show.line(text.clean(job.id))


def _print_ended(server: Server, job: Job, args: Namespace) -> None:
    if args.output and job.result:
        for stored in results.store(server, job, args.output, args.force):
            waiting.note(f"stored {stored.path}")
    if args.format == "json":
        show.print_json(job)
    elif job.result:
        results.replay(server, job.result)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not _ENVIRONMENT_NAME.fullmatch(name):
        raise UsageError(f"--env {name} is not NAME=VALUE", "xw job submit --help")
    return name, value


SUBMIT = Command(
    _configure, _run, "xw job submit hello --data ./input.csv --env SEED=7 --wait -- --rounds 3", takes_rest=True
)
