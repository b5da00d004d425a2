"""The part of the wire where one request carries many jobs; wire.py has the table of routes."""

from __future__ import annotations

from xwhep.common.wire import Lease, WorkResult
from xwhep.common.wire_identity import Model

INLINE_BYTES = 16 * 1024  # the largest content that travels inside a message
MAX_LEASES = 64  # jobs that a worker gets at once
MAX_RESULTS = 256  # results in one message
MAX_RESULTS_BYTES = 4 * 1024 * 1024  # of the whole message


class Leases(Model, frozen=True, kw_only=True):
    leases: list[Lease]  # never more than the free slots that the worker named


class WorkResults(Model, frozen=True, kw_only=True):
    """Results, and with them the contents of their small files: those need no upload of their own."""

    results: list[WorkResult]
    contents: list[bytes] = []  # each whole, INLINE_BYTES at most; the server names it by its sha256


class Outcome(Model, frozen=True, kw_only=True):
    """What became of one result: taken when `code` is empty, else as in an ErrorBody.

    "conflict": the attempt is stale, drop it; "not_found": upload the content that the message names, and try again.
    """

    code: str = ""
    message: str = ""
    next_step: str = ""


class Outcomes(Model, frozen=True, kw_only=True):
    outcomes: list[Outcome]  # in the order of the results
