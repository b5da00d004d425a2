"""A failed build's log as one clear error: which kind of failure, and the lines that say so."""

from __future__ import annotations

import re
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.definitions import Surroundings
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs.no_network import ASKED

SHOWN_LINES = 8
SHOWN_HOSTS = 3
CONTEXT_LINES = 3  # a compiler shows the line it means and a caret below it
WANTED = re.compile(rf"^{re.escape(ASKED)}(\S+)$", re.M)
# Who asked for nothing but a name, and failed for another reason, is told that reason.
NO_NETWORK = re.compile(
    r"[Cc]ould not resolve|[Uu]nable to resolve|name resolution|Name or service not known|Network is unreachable"
    r"|[Cc]onnection (?:refused|timed out)|getaddrinfo|Failed to connect|Max retries exceeded|NewConnectionError"
)
# Where a tool names the host itself, as one does that was given a number.
NAMED = re.compile(
    r"Could not resolve host:? '?([\w.-]+)|[Uu]nable to resolve host address .([\w.-]+)"
    r"|[Ff]ailed to connect to ([\w.:-]+)"
    r"|ConnectionPool\(host='([^']+)'|(?:Err|Ign):\d+ \w+://([^/\s]+)|\w+://([\w.-]+)"
)
UNMET = re.compile(r"[Uu]nmet build dependencies: (.*)")
WRONG_CONTROL = re.compile(
    r"^(dpkg-[a-z]+|dh(?:_[a-z]+)?): error: .*(?:debian/(?:control|changelog)|control file|field|syntax).*", re.M
)
PATCH = re.compile(
    r"^(?:dpkg-source: error: LC_ALL=C patch .*|Hunk #\d+ FAILED.*|patch: \*\*\*\* .*|.*can't find file to patch.*)$",
    re.M,
)
# What says why, most telling first: compilers, linkers, Python, then the tools that only pass a failure on.
CAUSES = (
    re.compile(
        r"(?:^|\s)(?:fatal )?error:|: error\b|undefined reference to|No rule to make target|: not found$"
        r"|No module named "
    ),
    re.compile(r"^(?:[A-Za-z_.]+(?:Error|Exception)\b|E:|ERROR\b|FAILED\b)"),
    re.compile(r"command not found|cannot |No such file or directory|Permission denied"),
)
PASSED_ON = re.compile(r"^(?:make(?:\[\d+\])?: \*\*\*|dh_\w+: error:|dpkg-buildpackage: error:|dh: error:)")


def relevant_lines(log: str) -> str:
    """The first cause with the lines below it, then the last tool that passed the failure on."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    passed_on = [line for line in lines if PASSED_ON.match(line)][:1]
    for pattern in CAUSES:
        found = [n for n, line in enumerate(lines) if pattern.search(line) and not PASSED_ON.match(line)]
        if found:
            first = _frame(lines, found[0])
            others = [lines[n] for n in found[1:] if lines[n] not in first]
            return "\n".join([*first, *others, *passed_on][:SHOWN_LINES])
    return "\n".join([*lines[-SHOWN_LINES:-1], lines[-1]]) if lines else ""


def _frame(lines: list[str], start: int) -> list[str]:
    below = lines[start + 1 : start + 1 + CONTEXT_LINES]
    shown = [line for line in below if re.match(r"\s+(?:\d+ )?\||\s+\^", line)]
    return [lines[start], *shown]


def wanted_hosts(log: str) -> list[str]:
    """The hosts that a failed build wanted from the network, in its order; empty when that is not why it failed."""
    failed = NO_NETWORK.search(log)
    if not failed:
        return []
    own = frozenset({Surroundings().host, "localhost"})
    named = (next(filter(None, groups)) for groups in NAMED.findall(_around(log, failed.start())))
    hosts = [host for host in (*WANTED.findall(log), *named) if host not in own]
    return list(dict.fromkeys(hosts))


def network_wanted(name: str, log: str, file: Path) -> BuildError:
    """The error for a build that fails without the network."""
    return BuildError(
        f"source {name!r} wants the network: {', '.join(wanted_hosts(log)[:SHOWN_HOSTS])}",
        cause=relevant_lines(log) or command.last_lines(log),
        next_step="the network is off: put what it fetches into the source, or its package into build_packages",
        log=file,
    )


def failed_build(name: str, log: str, file: Path) -> BuildError:
    """The error for a dpkg-buildpackage that ended badly; `file` is where the log lies."""
    if wanted_hosts(log):
        return network_wanted(name, log, file)
    unmet = UNMET.search(log)
    if unmet:
        return BuildError(
            f"source {name!r} needs packages that its chroot lacks",
            cause=unmet[1],
            next_step=f"add them to build_packages of [sources.{name}], or in the wanted version to [chroot] packages",
            log=file,
        )
    patch = PATCH.search(log)
    if patch:
        return BuildError(
            f"a patch of source {name!r} does not apply",
            cause=_around(log, patch.start()),
            next_step="refresh it against the tree that is built: quilt push, quilt refresh",
            log=file,
        )
    wrong = WRONG_CONTROL.search(log)
    if wrong:
        return BuildError(
            f"the files in debian/ of source {name!r} are wrong",
            cause=wrong[0],
            next_step="mend what it names",
            log=file,
        )
    return BuildError(
        f"source {name!r} does not build",
        cause=relevant_lines(log) or command.last_lines(log),
        next_step="mend what it names; the log has the rest",
        log=file,
    )


def _around(log: str, position: int) -> str:
    before = log[:position].splitlines()[-4:]
    after = log[position:].splitlines()[:4]
    return "\n".join([*before, *after])
