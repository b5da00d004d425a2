"""Local files as data on the server, for `xw data put` and for the files that a job is submitted with."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from xwhep.client.connection import Server, in_path
from xwhep.client.transfer import Blob, proving, put, put_path, regular_file
from xwhep.common.errors import Conflict, NotFound, UsageError
from xwhep.common.wire import Datum, DatumSpec

STDIN_MARK = "-"


def is_local(reference: str) -> bool:
    """True when `reference` means a local file: it has a slash, begins with @, or is - (standard input).

    Anything else is the name or id of a datum on the server, whatever files lie in the current folder, so that a
    script means the same wherever it runs.
    """
    return reference == STDIN_MARK or reference.startswith("@") or "/" in reference


def local_file(reference: str) -> str:
    return reference.removeprefix("@")


def put_datum(server: Server, file: str, name: str) -> Datum:
    """Upload `file` (- for standard input) and register it as `name`, or as the file's own name when that is empty.

    Raises:
        UsageError: the file is not one, or has no name.
        Conflict: the name is taken for other bytes.
    """
    chosen = name or Path(file).name
    if file == STDIN_MARK and not name:
        raise UsageError("standard input has no name", "add --name NAME")
    if file == STDIN_MARK:
        with _spooled_stdin() as copy:
            return proving(lambda anew: _register(server, put(server, copy, chosen, anew), chosen))
    return proving(lambda anew: _register(server, put_path(server, Path(file), anew), chosen))


def put_for_job(server: Server, reference: str) -> str:
    """The datum that `reference` means, uploaded first when it is a local file; returns its id, or the name given."""
    return put_datum(server, local_file(reference), "").id if is_local(reference) else reference


def put_stdin_for_job(server: Server, reference: str) -> str:
    """`put_for_job` for a job's standard input: it needs no name of its own, so it is named by its content."""
    if not is_local(reference):
        return reference
    file = local_file(reference)

    with _spooled_stdin() if file == STDIN_MARK else regular_file(Path(file)) as content:

        def register(anew: bool) -> str:
            blob = put(server, content, "standard input", anew)
            return _register(server, blob, f"stdin-{blob.sha256[:16]}").id

        return proving(register)


def _register(server: Server, blob: Blob, name: str) -> Datum:
    """Name a blob; the same name for the same bytes again is no error."""
    try:
        return server.post("/v1/data", DatumSpec(name=name, sha256=blob.sha256, size=blob.size), Datum)
    except Conflict as conflict:
        try:
            known = server.get(f"/v1/data/{in_path(name)}", Datum)
        except NotFound:
            raise conflict from None
        if known.sha256 != blob.sha256:
            raise Conflict(
                f"you have other data named {name}", "give it another name: xw data put FILE --name NAME"
            ) from conflict
        return known


def _spooled_stdin() -> BinaryIO:
    """Standard input as a file: its hash must be known before its bytes are sent, and they may be sent twice."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.seek(0)
    return copy
