"""`xw job batch`: the jobs of a file, as the server's own records, in one submission."""

from __future__ import annotations

import difflib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from xwhep.client import credentials, show, submission, text, waiting
from xwhep.client.connection import Server
from xwhep.client.listing import Wanted
from xwhep.client.parser import Command, add_format
from xwhep.client.uploads import STDIN_MARK, references
from xwhep.common.errors import UsageError
from xwhep.common.names import MAX_WORD, is_word
from xwhep.common.wire import JobBatch, JobSpec, Needs


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Submit the jobs of a file, all of them or none. Each line is one JSON object with the fields of a job:\n"
        '  {"app": "hello", "args": ["world"], "env": {"SEED": "7"}, "priority": 5, "after": ["#0"]}\n'
        'In "after", #N is the file\'s job N, counted from 0. In "stdin", "data" and "files" a path with a slash\n'
        "or @f is a local file, which is uploaded. Jobs without a group get the same one."
    )
    parser.add_argument("file", metavar="FILE", help="JSON lines; - is standard input")
    parser.add_argument("--group", metavar="G", default="", help="of the jobs that name none (default: a new one)")
    add_format(parser)


def _run(args: Namespace) -> int:
    if not is_word(args.group):
        raise UsageError(f"a group has at most {MAX_WORD} printable characters", "xw job batch --help")
    group = args.group or submission.fresh_group("batch")
    numbered = _read(args.file)
    places = [f"line {line} of {args.file}" for line, _ in numbered]
    specs = [spec if spec.group else msgspec.structs.replace(spec, group=group) for _, spec in numbered]
    submission.check_size(JobBatch(jobs=specs))
    with Server(credentials.find()) as server:
        ids = submission.submit_all(server, submission.resolve_all(server, specs, places), places)
    mine = sum(spec.group == group for spec in specs)
    to_wait = f"; to wait for {text.jobs(mine)}: xw job wait {Wanted(group=group).words}" if mine else ""
    waiting.note(f"{text.jobs(len(ids))} submitted{to_wait}")
    if args.format == "json":
        show.print_json({"group": group, "ids": ids})
    else:
        for one in ids:
            show.line(text.clean(one))
    return 0


def _read(name: str) -> list[tuple[int, JobSpec]]:
    if name == STDIN_MARK:
        found = parse(sys.stdin.buffer, "standard input")
        if any(STDIN_MARK in references(spec) for _, spec in found):
            raise UsageError("standard input cannot be both the jobs and a file of theirs", "give the jobs as a file")
        return found
    with Path(name).open("rb") as file:
        return parse(file, name)


def parse(lines: Iterable[bytes], name: str) -> list[tuple[int, JobSpec]]:
    """Line numbers and jobs; empty lines are passed over.

    Raises:
        UsageError: a line is no job, or there is none.
    """
    found = [(number, _job(line, f"line {number} of {name}")) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UsageError(f"{name} has no jobs", "write one JSON object in each line")
    return found


def _job(line: bytes, place: str) -> JobSpec:
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
        for word in fields:
            _check_field(word, JobSpec)
        if isinstance(needs := fields.get("needs"), dict):
            for word in needs:
                _check_field(word, Needs)
        return msgspec.convert(fields, JobSpec)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{place} is no job: {exc}", "xw job batch --help shows one") from exc
    except _UnknownField as exc:
        raise UsageError(f"{place}: {exc}", exc.next_step) from exc


class _UnknownField(UsageError):
    pass


def _check_field(word: str, model: type[JobSpec] | type[Needs]) -> None:
    """A server passes over what it does not know; a person who mistypes wants to be told."""
    known = [name for name in model.__struct_fields__ if name != "key"]
    if word not in known:
        near = difflib.get_close_matches(word, known, n=1) or [", ".join(known)]
        raise _UnknownField(f"a job has no field {word!r}", f"did you mean {near[0]}?")


BATCH = Command(_configure, _run, "xw job batch jobs.jsonl --group night\n  xw job batch - < jobs.jsonl")
