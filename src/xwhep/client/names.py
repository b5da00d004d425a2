"""The command names of earlier releases. Each says its words as `xw` has them, and runs that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xwhep.client.main import main, report
from xwhep.client.text import clean
from xwhep.common.errors import UsageError, XwhepError

_CPUS = {"amd64": "x86_64", "x86_64": "x86_64", "ix86": "i686", "i686": "i686", "arm64": "aarch64", "any": "any"}
_SYSTEMS = {"linux": "linux", "macosx": "darwin", "win32": "windows", "any": "any"}
_SUBMIT_OPTIONS = {
    "--xwlabel": "--label",
    "--xwstdin": "--stdin",
    "--xwenv": "--data",
    "--xwgroup": "--group",
    "--xwsession": "--session",
    "--xwexpectedhost": "--worker",
    "--xwwallclocktime": "--wall-clock",
    "--xwreplica": "--replicas",
}
_FORMATS = {"short": "table", "table": "table", "json": "json"}


class Name(NamedTuple):
    """An earlier name: `usage` as it was typed, `today` as it is typed now."""

    usage: str
    today: str
    translate: Callable[[list[str]], list[str]]


def xwsendapp() -> int:
    return _run(Name("xwsendapp NAME TYPE CPU OS FILE", "xw app register NAME FILE --os OS --arch ARCH", _sendapp))


def xwapps() -> int:
    return _run(Name("xwapps", "xw app list", lambda words: ["app", "list", *_known(words)]))


def xwsenddata() -> int:
    return _run(Name("xwsenddata NAME [CPU OS TYPE RIGHTS] FILE", "xw data put FILE --name NAME", _senddata))


def xwdatas() -> int:
    return _run(Name("xwdatas", "xw data list", lambda words: ["data", "list", *_known(words)]))


def xwsubmit() -> int:
    usage = "xwsubmit [--xwlabel L] [--xwstdin FILE] [--xwenv FILE] APP [ARG ...]"
    return _run(Name(usage, "xw job submit APP [--label L] [--stdin FILE] [--data FILE] -- ARG ...", _submit))


def xwworks() -> int:
    return _run(Name("xwworks", "xw job list", lambda words: ["job", "list", *_known(words)]))


def xwstatus() -> int:
    return _run(Name("xwstatus ID ...", "xw job show ID ...", lambda words: ["job", "show", *_known(words)]))


def xwresults() -> int:
    return _run(Name("xwresults ID", "xw job results ID", lambda words: ["job", "results", *_known(words)]))


def xwdownload() -> int:
    return _run(Name("xwdownload ID|NAME", "xw data get ID|NAME", lambda words: ["data", "get", *_known(words)]))


def xwworkers() -> int:
    return _run(Name("xwworkers", "xw worker list", lambda words: ["worker", "list", *_known(words)]))


def xwrm() -> int:
    return _run(Name("xwrm ID ...", "xw job rm ID ...", lambda words: ["job", "rm", *_known(words)]))


def xwexplain() -> int:
    return _run(Name("xwexplain ID", "xw job explain ID", lambda words: ["job", "explain", *_known(words)]))


def xwchmod() -> int:
    usage = "xwchmod MODE [app|data|job] NAME|ID"
    return _run(Name(usage, "xw chmod MODE app|data|job|any NAME|ID", _chmod))


def xwversion() -> int:
    return _run(Name("xwversion", "xw version", lambda words: ["version", *_known(words)]))


def _run(name: Name) -> int:
    words = sys.argv[1:]
    if words[:1] in (["-h"], ["--help"], ["--xwhelp"]):
        print(f"usage: {name.usage}\n\nThe name of earlier releases. Today: {name.today}")  # noqa: T201
        return 0
    try:
        translated = name.translate(words)
    except XwhepError as error:
        return report(error)
    return main(translated)


def _known(words: Sequence[str]) -> list[str]:
    """Words with `--xwformat F` as `--format F`.

    Raises:
        UsageError: another --xw option, or a format that is gone.
    """
    translated: list[str] = []
    rest = list(words)
    while rest:
        word, _, value = rest.pop(0).partition("=") if rest[0].startswith("--xw") else (rest.pop(0), "", "")
        if word == "--xwformat":
            value = value or _value(word, rest)
            if value not in _FORMATS:
                raise UsageError(f"the format {value} is gone", "formats are: short, json")
            translated += ["--format", _FORMATS[value]]
        elif word.startswith("--xw"):
            raise UsageError(f"the option {word} is gone", "xw --help shows today's commands")
        else:
            translated.append(word)
    return translated


def _value(option: str, rest: list[str]) -> str:
    if not rest:
        raise UsageError(f"{option} needs a value", "add it after the option")
    return rest.pop(0)


def _sendapp(words: list[str]) -> list[str]:
    words = _known(words)
    if len(words) < 5:
        raise UsageError("xwsendapp takes NAME TYPE CPU OS FILE", "xwsendapp --help")
    name, kind, cpu, system, source, *options = words
    if kind.lower() == "shared":
        return ["app", "register", *options, name, "--shared", source]
    if kind.lower() not in ("deployable", "binary"):
        raise UsageError(f"the type of app {kind} is gone", "types are: deployable, shared")
    return [
        *("app", "register", *options),
        *("--os", _SYSTEMS.get(system.lower(), system.lower())),
        *("--arch", _CPUS.get(cpu.lower(), cpu.lower())),
        *(name, _local(source)),
    ]


def _senddata(words: list[str]) -> list[str]:
    words = _known(words)
    if len(words) not in (2, 6):
        raise UsageError("xwsenddata takes NAME FILE, or NAME CPU OS TYPE RIGHTS FILE", "xwsenddata --help")
    if len(words) == 6:
        sys.stderr.write(
            f"xwsenddata: {clean(' '.join(words[1:5]))}: data has no CPU, OS, TYPE nor RIGHTS now; left out\n"
        )
    return ["data", "put", _local(words[-1]), "--name", words[0]]


def _chmod(words: list[str]) -> list[str]:
    words = _known(words)
    cut = words.index("--format") if "--format" in words else len(words)
    options, plain = words[cut : cut + 2], words[:cut] + words[cut + 2 :]
    if len(plain) == 2:
        plain.insert(1, "any")
    if len(plain) != 3:
        raise UsageError("xwchmod takes MODE NAME, or MODE KIND NAME", "xwchmod --help")
    return ["chmod", *options, plain[0].removeprefix("0x"), *plain[1:]]


def _submit(words: list[str]) -> list[str]:
    """Options of ours begin with --xw and may stand anywhere; all else is the app and its arguments."""
    options: list[str] = []
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if option in _SUBMIT_OPTIONS:
            given = value if equals else _value(option, rest)
            # Two took files by any name; a datum's id or name has no file beside it.
            given = _file_or_datum(given) if option in ("--xwstdin", "--xwenv") else given
            options.append(f"{_SUBMIT_OPTIONS[option]}={given}")
        elif option == "--xwformat":
            options += _known([option, value or _value(option, rest)])
        elif word.startswith("--xw"):
            raise UsageError(f"the option {option} is gone", "xw job submit --help shows today's")
        else:
            plain.append(word)
    if not plain:
        raise UsageError("xwsubmit takes APP [ARG ...]", "xwsubmit --help")
    return ["job", "submit", *options, plain[0], "--", *plain[1:]]


def _file_or_datum(word: str) -> str:
    from pathlib import Path  # noqa: PLC0415 - only for these two options

    return "@" + word if Path(word).is_file() else word


def _local(source: str) -> str:
    scheme, separator, path = source.partition("://")
    if not separator:
        return source
    if scheme != "file":
        raise UsageError(f"files of {scheme}:// addresses are not fetched", "download it first, then give the file")
    return path
