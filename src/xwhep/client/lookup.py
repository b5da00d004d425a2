"""Finding what a person means by a name or the beginning of an id, and saying what is near when nothing is found."""

from __future__ import annotations

from collections.abc import Iterable

from xwhep.client.connection import Server, in_path
from xwhep.client.listing import list_jobs
from xwhep.common.errors import NotFound, UsageError, XwhepError
from xwhep.common.wire import App, Datum, Job, JobSpec

SHORT_ID_SEARCH = 10_000  # newest jobs among which the beginning of an id is looked for


def find_job(server: Server, typed: str) -> Job:
    """The job of that id, or the only one whose id begins so.

    Raises:
        NotFound: there is none.
        UsageError: several begin so.
    """
    if not typed:
        raise UsageError("a job's id is empty", "xw job list shows the ids")
    try:
        return server.get(f"/v1/jobs/{in_path(typed)}", Job)
    except NotFound as exc:
        fitting = [job for job in list_jobs(server, limit=SHORT_ID_SEARCH) if job.id.startswith(typed)]
        if not fitting:
            raise NotFound(f"there is no job {typed}", "xw job list") from exc
        if len(fitting) > 1:
            raise UsageError(
                f"{len(fitting)} jobs begin with {typed}", "type more of the id; xw job show prints it whole"
            ) from exc
        return fitting[0]


def find_datum(server: Server, typed: str) -> Datum:
    """The datum of that name or id.

    Raises:
        NotFound: there is none; the nearest names are in the next step.
    """
    try:
        return server.get(f"/v1/data/{in_path(typed)}", Datum)
    except NotFound as exc:
        raise unknown_datum(server, typed) from exc


def find_app(server: Server, name: str) -> App:
    """The app of that name.

    Raises:
        NotFound: there is none; the nearest names are in the next step.
    """
    try:
        return server.get(f"/v1/apps/{in_path(name)}", App)
    except NotFound as exc:
        raise unknown_app(server, name) from exc


def explain_refused_job(server: Server, spec: JobSpec, refusal: XwhepError) -> XwhepError:
    """Which of a job's names the server does not know; `refusal` itself when it knows them all."""
    apps = server.get("/v1/apps", list[App])
    if spec.app not in {word for app in apps for word in (app.name, app.id)}:
        return _unknown("app", spec.app, (app.name for app in apps), "xw app list")
    data = server.get("/v1/data?all=1", list[Datum])
    known = {word for datum in data for word in (datum.name, datum.id)}
    for name in filter(None, [spec.stdin, *spec.data, *spec.files.values()]):
        if name not in known:
            return _unknown_datum(name, data)
    return refusal


def unknown_app(server: Server, name: str) -> NotFound:
    return _unknown("app", name, (app.name for app in server.get("/v1/apps", list[App])), "xw app list")


def unknown_datum(server: Server, name: str) -> NotFound:
    return _unknown_datum(name, server.get("/v1/data", list[Datum]))


def _unknown_datum(name: str, data: Iterable[Datum]) -> NotFound:
    from pathlib import Path  # noqa: PLC0415 - on a mistake only

    usual = f"a local file is written ./{name}" if Path(name).is_file() else "xw data list"
    return _unknown("datum", name, (datum.name for datum in data), usual)


def _unknown(kind: str, name: str, names: Iterable[str], usual: str) -> NotFound:
    import difflib  # noqa: PLC0415 - on a mistake only

    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return NotFound(f"there is no {kind} {name!r}", f"did you mean {' or '.join(near)}? ({usual})" if near else usual)
