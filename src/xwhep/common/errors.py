"""Every way the platform can fail that a person can do something about.

    XwhepError
    ├── UsageError            2   the words typed are off
    ├── ConnectionFailed      3   nothing answers at that address
    ├── UntrustedCertificate  4   the server's certificate is not signed by the known authority
    ├── AuthenticationFailed  5   bad login, bad or revoked token
    ├── NotAllowed            6   known user, missing right
    ├── NotFound              7   no app, datum, job or worker of that name
    ├── Conflict              8   the request contradicts what is stored (a stale attempt, a taken name)
    ├── DiskFull              9   no room here or on the server
    ├── InvalidRequest       10   the server cannot read what was sent
    ├── JobFailed            11   the job ended, but not well
    ├── TimedOut             12   it took longer than the caller allowed
    └── ServerFailed         13   the server had an error of its own

Each class has an exit code of its own (a test says so), a wire code, and the HTTP status that carries it.
The server raises them, the wire carries `ErrorBody`, and the worker and client raise the same class again.
"""

from __future__ import annotations

from typing import ClassVar


class XwhepError(Exception):
    """A failure with a cause and a next step, both for people.

    `str(error)` is one sentence on what happened and why; `next_step` is what to type or check (may be empty).
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class UsageError(XwhepError):
    exit_code, code, status = 2, "usage", 400


class ConnectionFailed(XwhepError):
    exit_code, code, status = 3, "connection", 503


class UntrustedCertificate(XwhepError):
    exit_code, code, status = 4, "untrusted_certificate", 495


class AuthenticationFailed(XwhepError):
    exit_code, code, status = 5, "authentication", 401


class NotAllowed(XwhepError):
    exit_code, code, status = 6, "not_allowed", 403


class NotFound(XwhepError):
    exit_code, code, status = 7, "not_found", 404


class Conflict(XwhepError):
    exit_code, code, status = 8, "conflict", 409


class DiskFull(XwhepError):
    exit_code, code, status = 9, "disk_full", 507


class InvalidRequest(XwhepError):
    exit_code, code, status = 10, "invalid_request", 422


class JobFailed(XwhepError):
    exit_code, code, status = 11, "job_failed", 424


class TimedOut(XwhepError):
    exit_code, code, status = 12, "timed_out", 408


class ServerFailed(XwhepError):
    exit_code, code, status = 13, "server_failed", 500


ALL_ERRORS: tuple[type[XwhepError], ...] = (
    UsageError,
    ConnectionFailed,
    UntrustedCertificate,
    AuthenticationFailed,
    NotAllowed,
    NotFound,
    Conflict,
    DiskFull,
    InvalidRequest,
    JobFailed,
    TimedOut,
    ServerFailed,
)

BY_CODE: dict[str, type[XwhepError]] = {error.code: error for error in ALL_ERRORS}


def from_wire(code: str, message: str, next_step: str = "") -> XwhepError:
    """The error that a response names, as the same class the server raised; an unknown code is the server's fault."""
    return BY_CODE.get(code, ServerFailed)(message, next_step)
