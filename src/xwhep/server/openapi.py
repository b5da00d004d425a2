"""The wire as an OpenAPI document, made from the routes' own Structs; a test holds it against the routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.routing import Route

from xwhep.common import wire as w
from xwhep.common import wire_bulk as bulk
from xwhep.common.version import VERSION

REF = "#/components/schemas/{name}"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`takes` and `gives` are wire models; None for bytes, text, or nothing (see `media`)."""

    method: str
    path: str
    who: str = "user"  # "anyone" | "user" | "admin" | "worker" | "both"
    takes: Any = None
    gives: Any = None
    status: int = 200
    media: str = "application/json"
    query: str = ""  # names of query parameters


def _op(line: str, takes: Any = None, gives: Any = None, **more: Any) -> Operation:
    method, path, who = line.split()
    return Operation(method=method, path=path, who=who, takes=takes, gives=gives, **more)


_BYTES = "application/octet-stream"
_TEXT = "text/plain"
OPERATIONS: tuple[Operation, ...] = (
    _op("GET /healthz anyone", None, w.Health),
    _op("GET /readyz anyone", None, w.Ready),
    _op("GET /metrics anyone", media=_TEXT),
    _op("GET /openapi.json anyone"),
    _op("GET /v1/ca anyone", media=_TEXT),
    _op("POST /v1/login anyone", w.Login, w.Session),
    _op("POST /v1/enrol anyone", w.Enrol, w.Enrolled),
    _op("GET /v1/me user", None, w.User),
    _op("POST /v1/me/password user", w.PasswordChange, w.Ack),
    _op("GET /v1/users admin", None, list[w.User]),
    _op("POST /v1/users admin", w.UserSpec, w.User),
    _op("POST /v1/users/{login} admin", w.UserChange, w.User),
    _op("GET /v1/groups user", None, list[w.Group]),
    _op("POST /v1/groups admin", w.GroupSpec, w.Group),
    _op("POST /v1/groups/{name} admin", w.GroupChange, w.Group),
    _op("GET /v1/tokens user", None, list[w.TokenInfo], query="all"),
    _op("DELETE /v1/tokens/{id} user", status=204),
    _op("POST /v1/tokens/join user", w.JoinSpec, w.JoinToken),
    _op("GET /v1/audit admin", None, list[w.AuditEntry], query="since limit"),
    _op("GET /v1/apps user", None, list[w.App]),
    _op("POST /v1/apps user", w.AppSpec, w.App),
    _op("GET /v1/apps/{name} user", None, w.App),
    _op("DELETE /v1/apps/{name} user", status=204),
    _op("POST /v1/apps/{name}/mode user", w.Mode, w.App),
    _op("GET /v1/blobs/{sha256} both", media=_BYTES),
    _op("PUT /v1/blobs/{sha256} both", media=_BYTES, status=201),
    _op("GET /v1/data user", None, list[w.Datum], query="all"),
    _op("POST /v1/data user", w.DatumSpec, w.Datum),
    _op("GET /v1/data/{name} user", None, w.Datum),
    _op("DELETE /v1/data/{name} user", status=204),
    _op("POST /v1/data/{name}/mode user", w.Mode, w.Datum),
    _op("GET /v1/jobs user", None, list[w.Job], query="state group session label limit before"),
    _op("POST /v1/jobs user", w.JobSpec, w.Job),
    _op("POST /v1/jobs/bulk user", w.JobBatch, w.JobIds),
    _op("GET /v1/jobs/summary user", None, w.JobSummary, query="group session seen wait"),
    _op("POST /v1/jobs/cancel user", w.CancelSpec, w.JobIds),
    _op("POST /v1/jobs/delete user", w.DeleteSpec, w.JobIds),
    _op("GET /v1/jobs/{id} user", None, w.Job, query="seen wait"),
    _op("DELETE /v1/jobs/{id} user", status=204),
    _op("POST /v1/jobs/{id}/cancel user", None, w.Job),
    _op("POST /v1/jobs/{id}/mode user", w.Mode, w.Job),
    _op("GET /v1/jobs/{id}/explain user", None, w.Explanation),
    _op("GET /v1/jobs/{id}/logs user", None, w.OutputPiece, query="stream offset attempt wait replica"),
    _op("GET /v1/workers user", None, list[w.Worker]),
    _op("POST /v1/workers/{id} user", w.WorkerChange, w.Worker),
    _op("POST /v1/workers/{id}/rotate user", None, w.Ack),
    _op("POST /v1/workers/{id}/unquarantine admin", None, w.Worker),
    _op("POST /v1/worker/request worker", w.WorkRequest, w.Lease),
    _op("POST /v1/worker/leases worker", w.WorkRequest, bulk.Leases),
    _op("POST /v1/worker/heartbeat worker", w.Heartbeat, w.HeartbeatReply),
    _op("POST /v1/worker/result worker", w.WorkResult, w.Ack),
    _op("POST /v1/worker/results worker", bulk.WorkResults, bulk.Outcomes),
    _op("POST /v1/worker/output worker", w.Output, w.Ack),
    _op("POST /v1/worker/leave worker", w.Leave, w.Ack),
)


def routes_of(app: Starlette) -> frozenset[tuple[str, str]]:
    """(method, path) of everything that the application answers; HEAD comes with GET."""
    return frozenset(
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    )


@cache
def document(routes: frozenset[tuple[str, str]]) -> bytes:
    """The whole document, as JSON, of an application with these routes."""
    present = [operation for operation in OPERATIONS if (operation.method, operation.path) in routes]
    models = [model for operation in present for model in (operation.takes, operation.gives) if model is not None]
    schemas, components = msgspec.json.schema_components([*models, w.ErrorBody], ref_template=REF)
    shapes = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for operation in present:
        taken = next(shapes) if operation.takes is not None else None
        given = next(shapes) if operation.gives is not None else None
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, taken, given)
    head = {"openapi": "3.1.0", "info": {"title": "xwhep", "version": VERSION}}
    security = {"bearer": {"type": "http", "scheme": "bearer"}}
    return msgspec.json.encode(
        {**head, "paths": paths, "components": {"schemas": components, "securitySchemes": security}}
    )


def _described(operation: Operation, taken: Any, given: Any) -> dict[str, Any]:
    verb = re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_")
    body: dict[str, Any] = {"operationId": verb, "responses": _responses(operation, given), "x-who": operation.who}
    parameters = [_parameter(name, "path") for name in re.findall(r"{(\w+)}", operation.path)]
    parameters += [_parameter(name, "query") for name in operation.query.split()]
    if parameters:
        body["parameters"] = parameters
    if operation.method == "PUT":
        taken = {"type": "string", "format": "binary"}
    if taken is not None:
        media = operation.media if operation.takes is None else "application/json"
        body["requestBody"] = {"required": True, "content": {media: {"schema": taken}}}
    if operation.who != "anyone":
        body["security"] = [{"bearer": []}]
    return body


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _responses(operation: Operation, given: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "done"}
    if operation.status != 204 and operation.method != "PUT":
        shape = given or {"type": "object" if operation.media == "application/json" else "string"}
        good["content"] = {operation.media: {"schema": shape}}
    error = {"application/json": {"schema": {"$ref": REF.format(name="ErrorBody")}}}
    return {str(operation.status): good, "default": {"description": "refused, and why", "content": error}}
