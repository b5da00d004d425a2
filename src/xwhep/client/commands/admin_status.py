"""`xw admin status`: the grid on one screen."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from xwhep.client import credentials, show, text
from xwhep.client.commands.admin_audit import HEADINGS, entries, row
from xwhep.client.connection import Request, Server
from xwhep.client.parser import Command, add_format
from xwhep.common.errors import ServerFailed
from xwhep.common.wire import AuditEntry, Health, JobState, Ready, Worker

AUDIT_LINES = 5
WORKER_STATES = ("idle", "busy", "lost", "left")
METRICS_LIMIT_BYTES = 1024 * 1024
_FIGURE = re.compile(r'^(\w+)(?:\{(?:\w+="([^"]*)")?[^}]*\})? ([0-9.e+-]+)$', re.MULTILINE)


class Status(NamedTuple):
    """`not_ready` is empty when the server is. `workers` and `jobs` are counts by state."""

    address: str
    version: str
    not_ready: str
    started_at: float
    workers: Mapping[str, int]
    jobs: Mapping[str, int]
    disk_free_bytes: int
    memory_bytes: int
    draining: list[str]
    quarantined: list[str]
    audit: list[AuditEntry]


def figures(metrics: str) -> dict[tuple[str, str], float]:
    """What the server's /metrics says, by name and value of the first label."""
    return {(name, label): float(value) for name, label, value in _FIGURE.findall(metrics)}


def _ask(server: Server) -> Status:
    audit = entries(server, 0.0, AUDIT_LINES)  # first: who is no administrator is told so
    metrics = server.read(server.send(Request("GET", "/metrics")), METRICS_LIMIT_BYTES)
    known = figures(metrics.decode("utf-8", "replace"))
    workers = server.get("/v1/workers", list[Worker])
    states = Counter(worker.state for worker in workers)
    return Status(
        address=server.address,
        version=server.get("/healthz", Health).version,
        not_ready=_not_ready(server),
        started_at=known.get(("xwhep_start_time_seconds", ""), 0.0),
        workers={state: states[state] for state in WORKER_STATES},
        jobs={state.value: int(known.get(("xwhep_jobs", state.value), 0)) for state in JobState},
        disk_free_bytes=int(known.get(("xwhep_disk_free_bytes", ""), 0)),
        memory_bytes=int(known.get(("process_resident_memory_bytes", ""), 0)),
        draining=sorted(worker.name for worker in workers if worker.draining),
        quarantined=sorted(worker.name for worker in workers if worker.quarantined_until),
        audit=audit,
    )


def _not_ready(server: Server) -> str:
    try:
        server.get("/readyz", Ready)
    except ServerFailed as error:
        return str(error)
    return ""


def _run(args: Namespace) -> int:
    with Server(credentials.find()) as server:
        status = _ask(server)
    if args.format == "json":
        show.print_json({**status._asdict(), "ready": not status.not_ready, "audit": show.whole(status.audit)})
    else:
        _print(status)
    sys.stdout.flush()
    if status.not_ready:
        raise ServerFailed(f"the server is not ready: {status.not_ready}", "its log says more")
    return 0


def _print(status: Status) -> None:
    show.print_facts(
        [
            ("server", f"{status.address}, {status.version}"),
            ("ready", f"no: {status.not_ready}" if status.not_ready else "yes"),
            ("running since", text.moment(status.started_at)),
            ("workers", _counted(status.workers)),
            ("draining", " ".join(status.draining)),
            ("in quarantine", " ".join(status.quarantined)),
            ("jobs", _counted(status.jobs)),
            ("free disk", text.size(status.disk_free_bytes)),
            ("memory", text.size(status.memory_bytes)),
        ]
    )
    show.line("")
    show.print_table(HEADINGS, map(row, status.audit))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"


def _configure(parser: ArgumentParser) -> None:
    parser.description = f"The grid on one screen. When the server is not ready, exits with {ServerFailed.exit_code}."
    add_format(parser)


STATUS = Command(_configure, _run, "xw admin status")
