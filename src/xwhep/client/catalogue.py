"""Every `xw` command: its words, where it lives, one line on it. Kept apart, so that help imports no command."""

from __future__ import annotations

from collections.abc import Sequence
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
    Entry("passwd", "passwd:PASSWD", "change your password"),
    Entry("token list", "token:LIST", "list your sessions, your workers' tokens and join tokens"),
    Entry("token revoke", "token:REVOKE", "end tokens of yours"),
    Entry("token join", "token:JOIN", "make a join line for a worker of your own"),
    Entry("app register", "app:REGISTER", "register a program, or one that workers have installed"),
    Entry("app list", "app:LIST", "list the apps"),
    Entry("app show", "app_sign:SHOW", "show all that is known of an app, and who signed it"),
    Entry("app sign", "app_sign:SIGN", "sign an app that is registered"),
    Entry("app rm", "app:RM", "remove apps of yours"),
    Entry("key make", "key:MAKE", "make a key that signs apps"),
    Entry("key show", "key:SHOW", "show by which name workers know a key"),
    Entry("data put", "data:PUT", "upload a file under a name"),
    Entry("data get", "data:GET", "download a file by name or id"),
    Entry("data list", "data:LIST", "list the data"),
    Entry("data show", "data:SHOW", "show all that is known of a datum"),
    Entry("data rm", "data:RM", "remove data of yours"),
    Entry("job submit", "submit:SUBMIT", "submit a job, and wait for it if so asked"),
    Entry("job sweep", "sweep:SWEEP", "submit one job for each row of a CSV file"),
    Entry("job batch", "batch:BATCH", "submit the jobs of a file of JSON lines, all of them or none"),
    Entry("job list", "job:LIST", "list your jobs, newest first"),
    Entry("job show", "job:SHOW", "show all that is known of a job"),
    Entry("job explain", "explain:EXPLAIN", "say why a job is where it is"),
    Entry("job logs", "outcome:LOGS", "show what a job has written so far, or follow it"),
    Entry("job wait", "outcome:WAIT", "wait until jobs have ended"),
    Entry("job results", "outcome:RESULTS", "download stdout, stderr and every file of jobs"),
    Entry("job cancel", "job:CANCEL", "stop jobs"),
    Entry("job rm", "job:RM", "remove jobs and their results from the server"),
    Entry("chmod", "chmod:CHMOD", "set who may see, change or use an app, a datum or a job"),
    Entry("worker list", "worker:LIST", "list the workers"),
    Entry("worker show", "worker:SHOW", "show all that is known of a worker"),
    Entry("admin status", "admin_status:STATUS", "show the grid on one screen"),
    Entry("admin user list", "admin_users:LIST", "list the users"),
    Entry("admin user add", "admin_users:ADD", "make a user"),
    Entry("admin user change", "admin_users:CHANGE", "change a user's role, groups or password"),
    Entry("admin user disable", "admin_users:DISABLE", "end a user's sessions, and let him start no other"),
    Entry("admin user enable", "admin_users:ENABLE", "let a disabled user log in again"),
    Entry("admin group list", "admin_groups:LIST", "list the groups"),
    Entry("admin group add", "admin_groups:ADD", "make a group"),
    Entry("admin group members", "admin_groups:MEMBERS", "show or change who is in a group"),
    Entry("admin token list", "token:ADMIN_LIST", "list everyone's sessions, workers' tokens and join tokens"),
    Entry("admin token revoke", "token:ADMIN_REVOKE", "end tokens"),
    Entry("admin token join", "token:ADMIN_JOIN", "make a join line for workers"),
    Entry("admin worker drain", "admin_workers:DRAIN", "let workers end their jobs and get no more"),
    Entry("admin worker resume", "admin_workers:RESUME", "give drained workers jobs again"),
    Entry("admin worker set", "admin_workers:SET", "change whose jobs workers run"),
    Entry("admin worker rotate", "admin_workers:ROTATE", "give workers new tokens"),
    Entry("admin worker unquarantine", "admin_workers:UNQUARANTINE", "forgive workers that failed too often"),
    Entry("admin audit", "admin_audit:AUDIT", "show what administrators did"),
    Entry("version", "version:VERSION", "show the version of this client and of the server"),
    Entry("completion", "completion:COMPLETION", "print a completion script for bash, zsh or fish"),
)


def groups() -> tuple[str, ...]:
    """Beginnings of commands that need more words ("admin", "admin user"), in the catalogue's order."""
    found: dict[str, None] = {}
    for entry in CATALOGUE:
        words = entry.words.split()
        found.update({" ".join(words[:depth]): None for depth in range(1, len(words))})
    return tuple(found)


def group_of(argv: Sequence[str]) -> str:
    """The longest of the groups that `argv` begins with; empty when it begins with none."""
    known = groups()
    fitting = [" ".join(argv[:depth]) for depth in range(1, len(argv) + 1) if " ".join(argv[:depth]) in known]
    return fitting[-1] if fitting else ""


def overview(group: str = "") -> str:
    """The text of `xw --help`, or of `xw GROUP --help`."""
    shown = [entry for entry in CATALOGUE if not group or entry.words.startswith(f"{group} ")]
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
