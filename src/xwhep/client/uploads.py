"""Local files as data on the server, for `xw data put` and for the files that jobs are submitted with."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from xwhep.client.connection import Server, in_path
from xwhep.client.transfer import Blob, proving, put, put_path, regular_file
from xwhep.common.errors import Conflict, NotFound, UsageError
from xwhep.common.wire import Datum, DatumSpec, JobSpec

STDIN_MARK = "-"


def is_local(reference: str) -> bool:
    """True when `reference` means a local file: it has a slash, begins with @, or is - (standard input).

    Anything else is the name or id of a datum on the server, whatever files lie in the current folder, so that a
    script means the same wherever it runs.
    """
    return reference == STDIN_MARK or reference.startswith("@") or "/" in reference


def local_file(reference: str) -> str:
    return reference.removeprefix("@")


def placed(word: str) -> tuple[str, str]:
    """The name in the job's folder, and the reference, of one word of --data: DATUM, FILE, NAME=DATUM or NAME=FILE.

    The name is empty for a datum that keeps its own.

    Raises:
        UsageError: the file would have no name.
    """
    name, equals, reference = word.partition("=")
    if equals and name and not is_local(name):  # ./a=b is a file, and so is d/a=b
        if name in (".", "..") or not reference:
            raise UsageError(f"--data {word} is not NAME=DATUM", "xw job submit --help")
        return name, reference
    if word == STDIN_MARK:
        raise UsageError("standard input has no name", "give it one: --data NAME=-")
    return (Path(local_file(word)).name if is_local(word) else ""), word


def references(spec: JobSpec) -> Iterable[str]:
    """The words for files and data in a specification as it was typed."""
    return filter(None, [spec.stdin, *spec.files.values(), *(placed(word)[1] for word in spec.data)])


class JobFiles:
    """What jobs name, on the server: each local file is uploaded once, and is a datum named by its content.

    Two files of one name never meet so, and the same file twice is one datum; in the job's folder it has its own name.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ids: dict[str, str] = {}

    def resolved(self, spec: JobSpec) -> JobSpec:
        """`spec` as it was typed, with ids and names that the server knows.

        Raises:
            UsageError: a local file is none, or two have one name in the job's folder.
            XwhepError: the server or the network failed.
        """
        files = {name: self._datum(word) for name, word in spec.files.items()}
        data = []
        for name, word in map(placed, spec.data):
            if not name:
                data.append(word)
            elif name in files:
                raise UsageError(f"two files of the job are named {name}", "give one another name: --data NAME=FILE")
            else:
                files[name] = self._datum(word)
        stdin = self._datum(spec.stdin) if spec.stdin else ""
        return msgspec.structs.replace(spec, stdin=stdin, data=data, files=files)

    def _datum(self, reference: str) -> str:
        if not is_local(reference):
            return reference
        if reference not in self._ids:
            self._ids[reference] = self._put(local_file(reference))
        return self._ids[reference]

    def _put(self, file: str) -> str:
        with _spooled_stdin() if file == STDIN_MARK else regular_file(Path(file)) as content:

            def register(anew: bool) -> str:
                blob = put(self._server, content, Path(file).name, anew)
                return _register(self._server, blob, f"content-{blob.sha256[:32]}", for_jobs=True).id

            return proving(register)


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


def _register(server: Server, blob: Blob, name: str, *, for_jobs: bool = False) -> Datum:
    """Name a blob; the same name for the same bytes again is no error."""
    spec = DatumSpec(name=name, sha256=blob.sha256, size=blob.size, for_jobs=for_jobs)
    try:
        return server.post("/v1/data", spec, Datum)
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
    import shutil  # noqa: PLC0415 - for one use of many
    import tempfile  # noqa: PLC0415 - as above

    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.seek(0)
    return copy
