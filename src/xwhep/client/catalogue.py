"""Every `xw` command: its words, where it lives, one line on it. Kept apart, so that help imports no command."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """`words` are what is typed after `xw`; `target` is MODULE:NAME of a `Command` below xwhep.client.commands."""

    words: str
    target: str
    summary: str


CATALOGUE = (
    Entry("login", "session:LOGIN", "trust a server and keep a session with it"),
    Entry("logout", "session:LOGOUT", "forget the session on this machine"),
    Entry("whoami", "session:WHOAMI", "show who the server takes you for"),
    Entry("app register", "app:REGISTER", "register a program, or one that workers have installed"),
    Entry("app list", "app:LIST", "list the apps"),
    Entry("data put", "data:PUT", "upload a file under a name"),
    Entry("data get", "data:GET", "download a file by name or id"),
    Entry("data list", "data:LIST", "list the data"),
    Entry("job submit", "submit:SUBMIT", "submit a job, and wait for it if so asked"),
    Entry("job list", "job:LIST", "list your jobs, newest first"),
    Entry("job show", "job:SHOW", "show all that is known of a job"),
    Entry("job wait", "job:WAIT", "wait until jobs have ended"),
    Entry("job results", "job:RESULTS", "download stdout, stderr and every file of a job"),
    Entry("job cancel", "job:CANCEL", "stop jobs"),
    Entry("job rm", "job:RM", "remove jobs and their results from the server"),
    Entry("worker list", "worker:LIST", "list the workers"),
    Entry("version", "version:VERSION", "show the version of this client and of the server"),
    Entry("completion", "completion:COMPLETION", "print a completion script for bash, zsh or fish"),
)


def groups() -> tuple[str, ...]:
    """First words that need a second one, in the catalogue's order."""
    return tuple(dict.fromkeys(entry.words.split()[0] for entry in CATALOGUE if " " in entry.words))


def overview(group: str = "") -> str:
    """The text of `xw --help`, or of `xw GROUP --help`."""
    shown = [entry for entry in CATALOGUE if not group or entry.words.split()[0] == group]
    width = max(len(entry.words) for entry in shown)
    lines = [f"  xw {entry.words:<{width}}  {entry.summary}" for entry in shown]
    return "\n".join(
        [
            f"usage: xw {group or 'COMMAND'} ... (xw COMMAND --help explains one and gives an example)",
            "",
            *lines,
            "",
            "A first job:  xw app register hello ./hello.sh && xw job submit hello --wait -- world",
            "Files: ~/.config/xwhep/client.json (session), /etc/xwhep/client.toml (system-wide server).",
            "Environment: XWHEP_JOIN or XWHEP_JOIN_FILE (a join line in place of a login), XWHEP_CLIENT_STATE (folder",
            "of the session), XWHEP_CLIENT_CONFIG (system-wide file), XWHEP_DEBUG=1 (show tracebacks).",
        ]
    )
