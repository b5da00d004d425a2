"""`xw job list`, `show`, `cancel`, `rm`: what was asked of the grid."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from xwhep.client import credentials, permissions, show, text
from xwhep.client.commands.selection import add_ids, add_selection, add_shared, shared
from xwhep.client.connection import MANY_TIMEOUT_S, Server, in_path
from xwhep.client.listing import Wanted, list_jobs
from xwhep.client.lookup import find_job
from xwhep.client.parser import Command, add_format
from xwhep.common.wire import CancelSpec, DeleteSpec, Job, JobIds, JobSpec, JobState

LIST_LIMIT = 50
_SPEC = JobSpec(app="")  # what a job is that asks for nothing


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise ArgumentTypeError("must be 1 or more")
    return number


def _configure_list(parser: ArgumentParser) -> None:
    parser.add_argument("--state", choices=[state.value for state in JobState], help="only jobs in this state")
    add_shared(parser)
    parser.add_argument("--label", metavar="L", default="", help="the jobs with this label")
    parser.add_argument(
        "--limit", metavar="N", type=_positive, default=LIST_LIMIT, help=f"at most N jobs (default: {LIST_LIMIT})"
    )
    add_format(parser)


def _list(args: Namespace) -> int:
    wanted = Wanted(state=args.state or "", group=args.group, session=args.session, label=args.label)
    with Server(credentials.find()) as server:
        jobs = list_jobs(server, wanted, args.limit)
    if args.format == "json":
        show.print_json(jobs)
    else:
        print_jobs(jobs)
    return 0


def print_jobs(jobs: list[Job]) -> None:
    short = show.short_ids([job.id for job in jobs])
    show.print_table(
        ("ID", "APP", "STATE", "EXIT", "WORKER", "SUBMITTED", "TOOK", "MODE", "GROUP", "LABEL"),
        [
            (
                short[job.id],
                job.app,
                job.state.value,
                str(job.result.exit_code) if job.result else "-",
                job.worker,
                text.moment(job.created_at),
                _took(job),
                permissions.shown(job.mode, job.owner_group),
                job.group,
                job.label,
            )
            for job in jobs
        ],
    )


def _took(job: Job) -> str:
    if not job.started_at:
        return "-"
    return text.duration((job.ended_at or time.time()) - job.started_at)


def _configure_show(parser: ArgumentParser) -> None:
    add_ids(parser)
    add_format(parser)


def _show(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        jobs = [find_job(server, one) for one in args.ids]
    if args.format == "json":
        show.print_json(jobs[0] if len(jobs) == 1 else jobs)
        return 0
    for number, job in enumerate(jobs):
        if number:
            show.line("")
        show.print_facts([*_asked(job), *_standing(job), *_came(job)])
    return 0


def _asked(job: Job) -> list[tuple[str, str]]:
    return [
        ("id", job.id),
        ("app", job.app),
        ("arguments", " ".join(job.args)),
        ("environment", _pairs(job.env)),
        ("stdin", job.stdin),
        ("data", " ".join(job.data)),
        ("files", _pairs(job.files)),
        ("label", job.label),
        ("group", job.group),
        ("session", job.session),
        ("needs", _needs(job)),
        ("priority", str(job.priority) if job.priority else ""),
        ("deadline", text.moment(job.deadline_at) if job.deadline_at else ""),
        ("time limit", text.duration(job.wall_clock_s) if job.wall_clock_s else ""),
        ("attempts", f"at most {job.max_attempts}" if job.max_attempts != _SPEC.max_attempts else ""),
        ("after", " ".join(job.after)),
        ("replicas", _replicas(job)),
        ("owner", job.owner),
        ("mode", permissions.shown(job.mode, job.owner_group)),
    ]


def _pairs(words: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in words.items())


def _needs(job: Job) -> str:
    found = []
    for name in job.needs.__struct_fields__:
        value = getattr(job.needs, name)
        if value:
            plain = (
                text.size(value) if name.endswith("_bytes") else ",".join(value) if isinstance(value, list) else value
            )
            found.append(f"{name.removesuffix('_bytes')}={plain}")
    return "  ".join(found)


def _replicas(job: Job) -> str:
    return f"{job.replicas}, of which {job.quorum or job.replicas // 2 + 1} must agree" if job.replicas > 1 else ""


def _standing(job: Job) -> list[tuple[str, str]]:
    return [
        ("state", job.state.value),
        ("waits", job.waits),
        ("reason", job.reason),
        ("attempt", str(job.attempt) if job.attempt else ""),
        ("worker", job.worker),
        ("submitted", text.moment(job.created_at)),
        ("started", text.moment(job.started_at)),
        ("ended", text.moment(job.ended_at)),
        *((f"replica {run.number}", f"{run.state}  {run.worker}  {_AGREED[run.agreed]}") for run in job.runs),
    ]


_AGREED = {None: "", True: "agrees", False: "contradicts"}


def _came(job: Job) -> list[tuple[str, str]]:
    if not job.result:
        return []
    files = enumerate(job.result.files, 1)
    return [
        ("exit code", str(job.result.exit_code)),
        ("wall clock", text.duration(job.result.wall_s)),
        ("stdout", text.size(job.result.stdout.size)),
        ("stderr", text.size(job.result.stderr.size)),
        *((f"file {number}", f"{file.path}  {text.size(file.size)}") for number, file in files),
        ("note", job.result.note),
    ]


def _cancel(args: Namespace) -> int:
    together = shared(args)
    with Server(credentials.find()) as server:
        if together:
            spec = CancelSpec(group=together.group, session=together.session)
            for job_id in server.post("/v1/jobs/cancel", spec, JobIds, MANY_TIMEOUT_S).ids:
                show.line(text.clean(f"{job_id} cancelled"))
        for one in args.ids:
            job = find_job(server, one)
            job = server.post(f"/v1/jobs/{in_path(job.id)}/cancel", None, Job)
            show.line(text.clean(f"{job.id} {job.state}"))
    return 0


def _rm(args: Namespace) -> int:
    together = shared(args)
    with Server(credentials.find()) as server:
        if together:
            spec = DeleteSpec(group=together.group, session=together.session)
            for job_id in server.post("/v1/jobs/delete", spec, JobIds, MANY_TIMEOUT_S).ids:
                show.line(text.clean(f"{job_id} removed"))
        for one in args.ids:
            job = find_job(server, one)
            server.delete(f"/v1/jobs/{in_path(job.id)}")
            show.line(text.clean(f"{job.id} removed"))
    return 0


LIST = Command(_configure_list, _list, "xw job list --state running\n  xw job list --group night --limit 1000")
SHOW = Command(_configure_show, _show, "xw job show 3f9a1c07")
CANCEL = Command(add_selection, _cancel, "xw job cancel 3f9a1c07\n  xw job cancel --group night")
RM = Command(add_selection, _rm, "xw job rm 3f9a1c07\n  xw job rm --group night")
