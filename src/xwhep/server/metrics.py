"""Figures for Prometheus: what the server counted since its start, and what the store and the fleet say now."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xwhep.common.version import VERSION
from xwhep.common.wire import JobState
from xwhep.server.grid import Grid

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WORKER_STATES = ("idle", "busy", "lost", "left")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


@dataclass(kw_only=True)
class RequestCounts:
    """Since the start."""

    started_at: float = field(default_factory=time.time)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)  # by method and status
    open: int = 0


class RequestCounter:
    """ASGI middleware that counts requests."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts.answered[method, message["status"]] += 1
            await send(message)

        self._counts.open += 1
        try:
            await self._app(scope, receive, counting)
        finally:
            self._counts.open -= 1


async def exposition(grid: Grid, counts: RequestCounts) -> str:
    """Every figure in Prometheus' text format."""
    jobs = await grid.store.identity.count_jobs()
    workers: Counter[str] = Counter()
    for record in await grid.store.people.workers():
        workers[grid.fleet.view(record, []).state] += 1
    disk = os.statvfs(grid.settings.state)
    answered = {f'method="{method}",status="{status}"': n for (method, status), n in sorted(counts.answered.items())}
    lines = [
        *_figure("xwhep_build_info", "gauge", "the server's version", {f'version="{VERSION}"': 1}),
        *_figure("xwhep_start_time_seconds", "gauge", "when the server started", {"": counts.started_at}),
        *_figure(
            "xwhep_jobs",
            "gauge",
            "jobs that the server knows",
            {f'state="{state.value}"': jobs.get(state.value, 0) for state in JobState},
        ),
        *_figure(
            "xwhep_workers",
            "gauge",
            "workers that are enrolled",
            {f'state="{state}"': workers[state] for state in WORKER_STATES},
        ),
        *_figure("xwhep_requests_total", "counter", "requests answered since the start", answered),
        *_figure("xwhep_requests_open", "gauge", "requests under way, most of them waiting", {"": counts.open}),
        *_figure("xwhep_disk_free_bytes", "gauge", "room for uploads", {"": disk.f_bavail * disk.f_frsize}),
        *_figure("process_resident_memory_bytes", "gauge", "memory of the server", {"": _resident_bytes()}),
        *_figure("process_cpu_seconds_total", "counter", "processor time of the server", {"": _cpu_s()}),
    ]
    return "\n".join(lines) + "\n"


def _figure(name: str, kind: str, text: str, values: Mapping[str, float]) -> Iterable[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
