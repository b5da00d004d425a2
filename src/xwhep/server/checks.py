"""What the types of the wire models cannot say: names, paths, counts. Everything that arrives is hostile until here."""

from __future__ import annotations

import math
import re

from xwhep.common.errors import InvalidRequest
from xwhep.common.names import MAX_WORD, NAME_RULE, is_name, is_plain, is_word
from xwhep.common.wire import (
    MAX_AFTER,
    MAX_PRIORITY,
    MAX_REPLICAS,
    MAX_TRIES,
    AppSpec,
    Binary,
    DatumSpec,
    JobResult,
    JobSpec,
    Machine,
    Needs,
    ResultFile,
)
from xwhep.server.blobs import check_sha256

LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
WORKER_LABEL = re.compile(r"[A-Za-z0-9._:=/+-]{1,64}")  # as the worker's own settings let its owner write it
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MAX_BINARIES = 64
MAX_SHARED = 256
MAX_KEY = 64
MAX_ARGS = 4096
MAX_ENV = 256
MAX_DATA = 1024
MAX_TEXT = 128 * 1024  # bytes of all args and env together: what Linux lets a program have
MAX_REASON = 1000
MAX_PATH = 1024
MAX_ATTEMPT = 2**31
MAX_SUBMIT_KEY = 128
MAX_SIZE = 2**60


def refuse(condition: bool, message: str) -> None:
    """Raises: InvalidRequest with `message` when `condition` holds."""
    if condition:
        raise InvalidRequest(message, "correct the request")


def check_name(name: str, what: str) -> None:
    if not is_name(name):  # not by refuse: its message would be made for each name
        raise InvalidRequest(f"{what} {name[:128]!r} {NAME_RULE}", "correct the request")


def check_size(size: int, what: str) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise InvalidRequest(f"the size of {what} must not be negative, nor above {MAX_SIZE}", "correct the request")


def check_app(spec: AppSpec) -> None:
    check_name(spec.name, "the app name")
    refuse(bool(spec.binaries) == bool(spec.shared), "an app has either binaries or a shared asset")
    refuse(len(spec.binaries) > MAX_BINARIES, f"an app has at most {MAX_BINARIES} binaries")
    if spec.shared:
        check_name(spec.shared, "the shared asset")
    for binary in spec.binaries:
        _check_binary(binary)
    machines = {(binary.os, binary.arch) for binary in spec.binaries}
    refuse(len(machines) < len(spec.binaries), "an app has two binaries for the same os and arch")


def _check_binary(binary: Binary) -> None:
    check_name(binary.os, "the os")
    check_name(binary.arch, "the arch")
    check_sha256(binary.sha256)
    check_size(binary.size, "a binary")


def check_datum(spec: DatumSpec) -> None:
    check_name(spec.name, "the datum name")
    check_sha256(spec.sha256)
    check_size(spec.size, "the datum")


def check_job(spec: JobSpec) -> None:
    check_name(spec.app, "the app name")
    refuse(len(spec.args) > MAX_ARGS, f"a job has at most {MAX_ARGS} arguments")
    refuse(len(spec.env) > MAX_ENV, f"a job has at most {MAX_ENV} environment variables")
    refuse(len(spec.data) + len(spec.files) > MAX_DATA, f"a job has at most {MAX_DATA} data")
    for path in spec.files:
        _check_path(path, "the file name")
        refuse(not is_plain(path), "a file name has printable characters only")
    refuse(not is_word(spec.label), f"a label has at most {MAX_WORD} printable characters")
    for name in spec.env:
        refuse(not ENV_NAME.fullmatch(name), f"{name[:128]!r} is no name of an environment variable")
    texts = [*spec.args, *spec.env, *spec.env.values()]
    refuse(any("\0" in text for text in texts), "arguments and environment cannot have NUL characters")
    size = sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)
    refuse(size > MAX_TEXT, f"arguments and environment are larger than {MAX_TEXT} bytes")
    refuse(not 0 <= spec.mode <= 0o777, "a mode is between 0 and 0777")
    if spec.owner_group:
        check_name(spec.owner_group, "the owning group")
    check_key(spec.key)
    check_scheduling(spec)


def check_key(key: str) -> None:
    refuse(len(key) > MAX_SUBMIT_KEY or not is_plain(key), f"a key has at most {MAX_SUBMIT_KEY} printable characters")


def check_scheduling(spec: JobSpec) -> None:
    """When, where and how often a job is to run."""
    if spec.needs != _NOTHING:
        _check_needs(spec.needs)
    refuse(
        not -MAX_PRIORITY <= spec.priority <= MAX_PRIORITY, f"a priority is between -{MAX_PRIORITY} and {MAX_PRIORITY}"
    )
    for number, what in ((spec.deadline_at, "deadline_at"), (spec.wall_clock_s, "wall_clock_s")):
        refuse(not (math.isfinite(number) and 0 <= number < 1e12), f"{what} is out of range")
    refuse(not 1 <= spec.max_attempts <= MAX_TRIES, f"max_attempts is between 1 and {MAX_TRIES}")
    for text, what in ((spec.group, "a group"), (spec.session, "a session")):
        refuse(not is_word(text), f"{what} has at most {MAX_WORD} printable characters")
    refuse(len(spec.after) > MAX_AFTER, f"a job comes after at most {MAX_AFTER} others")
    refuse(not 1 <= spec.replicas <= MAX_REPLICAS, f"replicas are between 1 and {MAX_REPLICAS}")
    refuse(not 0 <= spec.quorum <= spec.replicas, "a quorum is at most the number of replicas")


_NOTHING = Needs()


def _check_needs(needs: Needs) -> None:
    for text, what in ((needs.os, "os"), (needs.arch, "arch"), (needs.worker_group, "group"), (needs.worker, "worker")):
        if text:
            check_name(text, f"the needed {what}")
    for number in (needs.cpu_count, needs.ram_bytes, needs.disk_bytes):
        check_size(number, "what the job needs")
    refuse(
        len(needs.shared) > MAX_SHARED or len(needs.labels) > MAX_SHARED, f"a job needs at most {MAX_SHARED} of each"
    )
    for name in needs.shared:
        check_name(name, "the needed asset")
    for label in needs.labels:
        _check_worker_label(label)


def check_machine(machine: Machine) -> None:
    for text in (machine.os, machine.arch, machine.cpu_model, machine.version, machine.isolation):
        refuse(len(text) > 200 or not is_plain(text), "a machine's descriptions have at most 200 printable characters")
    for number in (machine.cpu_count, machine.ram_bytes, machine.disk_free_bytes):
        check_size(number, "the machine's resources")
    refuse(len(machine.shared) > MAX_SHARED, f"a machine has at most {MAX_SHARED} shared assets")
    refuse(len(machine.labels) > MAX_SHARED, f"a machine has at most {MAX_SHARED} labels")
    refuse(len(machine.signers) > MAX_SHARED, f"a machine knows at most {MAX_SHARED} signers")
    refuse(any(len(key) > MAX_KEY or not is_plain(key) for key in machine.signers), "a signer is base64 of 32 bytes")
    for name in machine.shared:
        check_name(name, "the shared asset")
    for label in machine.labels:
        _check_worker_label(label)


def _check_worker_label(label: str) -> None:
    refuse(
        not WORKER_LABEL.fullmatch(label),
        f"the label {label[:64]!r} must have letters, digits and . _ : = / + - alone, at most 64 of them",
    )


def check_attempt(number: int) -> None:
    refuse(not 0 < number < MAX_ATTEMPT, "attempt must be a positive number")


def check_result(result: JobResult) -> None:
    for file in (result.stdout, result.stderr, *result.files):
        _check_file(file)
    paths = [file.path for file in result.files]
    refuse(len(set(paths)) < len(paths), "a result names the same path twice")
    refuse(not -256 <= result.exit_code <= 2**32, "the exit code is out of range")
    refuse(not (math.isfinite(result.wall_s) and 0 <= result.wall_s < 1e10), "wall_s is out of range")
    refuse(
        len(result.reason) > MAX_REASON or not is_plain(result.reason), f"a reason has at most {MAX_REASON} characters"
    )


def _check_file(file: ResultFile) -> None:
    _check_path(file.path, "the result path")
    check_sha256(file.sha256)
    check_size(file.size, "a result file")
    refuse(not 0 <= file.mode <= 0o777, "a result file's mode is between 0 and 0777")


def _check_path(path: str, what: str) -> None:
    if len(path) > MAX_PATH or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        must = "must be relative, without . or .. or empty parts"
        raise InvalidRequest(f"{what} {path[:200]!r} {must}", "correct the request")


def whole_number(text: str, name: str, most: int) -> int:
    """A query parameter between 0 and `most`; more is taken as `most`. Raises: InvalidRequest."""
    refuse(not (text.isascii() and text.isdigit() and len(text) < 20), f"{name} must be a whole number")
    return min(int(text), most)


def seconds(text: str, name: str, most: float) -> float:
    """A query parameter in seconds; more than `most` is taken as `most`. Raises: InvalidRequest."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    refuse(not value >= 0, f"{name} must be a number of seconds")
    return min(value, most)
