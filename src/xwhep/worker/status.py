"""The status of a worker as text for people and for programs."""

from __future__ import annotations

import datetime

import msgspec

from xwhep.worker.board import Status
from xwhep.worker.control import Mode

NOT_RUNNING = "no worker runs with this state folder\n"


def as_json(status: Status | None) -> str:
    """One object with `running`; when true, also every field of Status."""
    content = {"running": status is not None}
    if status:
        content |= msgspec.to_builtins(status)
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def as_table(status: Status | None) -> str:
    """A few lines of what it is, then one line per job it holds."""
    if status is None:
        return NOT_RUNNING
    link = "connected" if status.connected else "not connected (trying)"
    lines = [
        f"worker     {status.name} ({status.worker_id}), pid {status.pid}, since {utc(status.started_at)}",
        f"server     {status.server}: {link}",
        f"isolation  {status.isolation}",
        f"slots      {status.slots}",
        f"mode       {_mode(status)}",
    ]
    if not status.attempts:
        return "\n".join([*lines, "no job", ""])
    rows = [("JOB", "ATTEMPT", "APP", "DOING", "SINCE")]
    rows += [(each.job_id, str(each.attempt), each.app or "-", each.phase, utc(each.since)) for each in status.attempts]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, ""])


def _mode(status: Status) -> str:
    if status.mode == Mode.DRAINING and not status.attempts:
        return "drained"
    return f"{status.mode} (no new jobs: {status.refusal})" if status.refusal else status.mode


def utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
