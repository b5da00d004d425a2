"""What a job asks for, as options: the same for one job and for the jobs of a sweep."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from xwhep.client import moments, permissions, quantities
from xwhep.common.errors import UsageError
from xwhep.common.names import MAX_WORD, NAME_RULE, is_name, is_word
from xwhep.common.wire import MAX_AFTER, MAX_PRIORITY, MAX_REPLICAS, MAX_TRIES, JobSpec, Needs

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE_HELP = "a path with a slash (./f) or @f is a local file, uploaded first; else a name or id on the server"
MOST_SECONDS = 1e12
NEW_MODE = JobSpec(app="").mode


def add_inputs(parser: ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="the app to run")
    parser.add_argument("args", metavar="ARG", nargs="*", help="its arguments; after -- they may begin with a dash")
    parser.add_argument(
        "--stdin", metavar="FILE|DATUM", default="", help=f"the job's standard input: {_FILE_HELP}; - is ours"
    )
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument(
        "--data",
        metavar="[NAME=]FILE|DATUM",
        help="files for the job's folder, under their own names or as NAME",
        **several,
    )
    parser.add_argument("--env", metavar="K=V", help="environment variables of the job", **several)
    parser.add_argument("--label", metavar="L", default="", help="a word of yours, shown in lists")


def add_needs(parser: ArgumentParser) -> None:
    needs = parser.add_argument_group("which workers may run it")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "type": _name}
    needs.add_argument("--os", metavar="OS", type=_name, default="", help="such as linux")
    needs.add_argument("--arch", metavar="ARCH", type=_name, default="", help="such as x86_64")
    needs.add_argument("--cpus", metavar="N", type=_between(1, 2**20), default=0, help="processors, at least")
    size = quantities.size
    needs.add_argument("--ram", metavar="SIZE", type=size, default=0, help="memory, at least: 512M, 2G")
    needs.add_argument("--disk", metavar="SIZE", type=size, default=0, help="free disk, at least")
    needs.add_argument("--asset", metavar="NAME", help="shared assets that are installed there, all of them", **several)
    needs.add_argument("--need-label", metavar="L", help="labels of the worker, all of them", **several)
    needs.add_argument("--worker-group", metavar="G", type=_name, default="", help="only workers of this group")
    needs.add_argument("--worker", metavar="NAME", type=_name, default="", help="only this worker, by name or id")


def add_schedule(parser: ArgumentParser) -> None:
    when = parser.add_argument_group("when and how often it runs")
    priority = _between(-MAX_PRIORITY, MAX_PRIORITY)
    tries, replicas = _between(1, MAX_TRIES), _between(1, MAX_REPLICAS)
    when.add_argument(
        "--priority", metavar="N", type=priority, default=0, help=f"-{MAX_PRIORITY} to {MAX_PRIORITY}, higher first"
    )
    when.add_argument(
        "--deadline",
        metavar="WHEN",
        type=_deadline,
        default=0.0,
        help="fail it unless it starts by then: 2026-11-23T22:46 (UTC, or with a zone) or +2h",
    )
    when.add_argument(
        "--wall-clock",
        metavar="DUR",
        type=_limit,
        default=0.0,
        help="how long one attempt may run: 90, 10m, 2h (default: the server's)",
    )
    when.add_argument(
        "--attempts", metavar="N", type=tries, default=3, help="give up after N lost or refused attempts (default: 3)"
    )
    when.add_argument(
        "--after", metavar="ID", nargs="+", action="extend", default=[], help="jobs that must be completed first"
    )
    when.add_argument(
        "--replicas", metavar="N", type=replicas, default=1, help="let N workers run it, and compare their results"
    )
    when.add_argument(
        "--quorum", metavar="K", type=replicas, default=0, help="how many must agree (default: more than half)"
    )


def add_ownership(parser: ArgumentParser) -> None:
    whose = parser.add_argument_group("what it belongs to, and who may see it")
    whose.add_argument("--group", metavar="G", type=_word, default="", help="a word that jobs share")
    whose.add_argument("--session", metavar="S", type=_word, default="", help="the same, of a second kind")
    whose.add_argument(
        "--mode", metavar="MODE", type=_mode, default=NEW_MODE, help="as chmod's: 750, g+r (default: 700)"
    )
    whose.add_argument(
        "--owner-group", metavar="G", type=_name, default="", help="group of users that the mode's second digit is for"
    )


def add_all(parser: ArgumentParser) -> None:
    for add in (add_inputs, add_needs, add_schedule, add_ownership):
        add(parser)


def template(args: Namespace) -> JobSpec:
    """The job as it was typed: local files not yet uploaded, beginnings of ids not yet completed.

    Raises:
        UsageError: words that contradict each other, or that no server takes.
    """
    if args.quorum > args.replicas:
        raise UsageError(
            f"--quorum {args.quorum} needs at least as many --replicas", f"add --replicas {args.quorum} or more"
        )
    if len(args.after) > MAX_AFTER:
        raise UsageError(f"a job comes after at most {MAX_AFTER} others", "let it come after one that comes after them")
    return JobSpec(
        app=args.app,
        args=[*args.args, *args.rest],
        env=dict(_pair(word) for word in args.env),
        stdin=args.stdin,
        data=args.data,
        label=args.label,
        needs=_needs(args),
        priority=args.priority,
        deadline_at=args.deadline,
        wall_clock_s=args.wall_clock,
        max_attempts=args.attempts,
        group=args.group,
        session=args.session,
        after=args.after,
        replicas=args.replicas,
        quorum=args.quorum,
        mode=args.mode,
        owner_group=args.owner_group,
    )


def _needs(args: Namespace) -> Needs:
    return Needs(
        os=args.os,
        arch=args.arch,
        cpu_count=args.cpus,
        ram_bytes=args.ram,
        disk_bytes=args.disk,
        shared=args.asset,
        labels=args.need_label,
        worker_group=args.worker_group,
        worker=args.worker,
    )


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not _ENVIRONMENT_NAME.fullmatch(name):
        raise UsageError(f"--env {name} is not NAME=VALUE", "xw job submit --help")
    return name, value


def _limit(word: str) -> float:
    seconds = moments.span(word)
    if not 0 < seconds < MOST_SECONDS:
        raise ArgumentTypeError(f"{word} is no time that a job may take")
    return seconds


def _deadline(word: str) -> float:
    seconds = moments.coming(word)
    if seconds >= MOST_SECONDS:
        raise ArgumentTypeError(f"{word} is too far away")
    return seconds


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(word: str) -> int:
        if not re.fullmatch(r"-?\d{1,9}", word) or not least <= int(word) <= most:
            raise ArgumentTypeError(f"{word!r} is not between {least} and {most}")
        return int(word)

    return number


def _name(word: str) -> str:
    if word and not is_name(word):  # an empty one asks for nothing
        raise ArgumentTypeError(f"{word!r} {NAME_RULE}")
    return word


def _word(word: str) -> str:
    if not is_word(word):
        raise ArgumentTypeError(f"{word[:MAX_WORD]!r} must have at most {MAX_WORD} printable characters")
    return word


def _mode(word: str) -> int:
    try:
        return permissions.changed(word, NEW_MODE)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc
