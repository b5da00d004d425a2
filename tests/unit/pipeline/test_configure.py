"""`doit configure`: by a file, by questions, twice, and the renewal of what is secret."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments import MADE_AT, PASSWORD, put
from repositories import Repository
from xwhep_packaging import configure
from xwhep_packaging.configure import Configure, Request
from xwhep_packaging.deployment import folder
from xwhep_packaging.errors import (
    AnswerError,
    DeploymentError,
    DeploymentExists,
    SecretsExposed,
    UnknownKey,
    ValuesError,
    WeakPassword,
)
from xwhep_packaging.settings import Settings

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
ANSWERS = f"XWSERVER=grid.example.org\nXWADMINPASSWORD='{PASSWORD}'\nCERTO=Example\nCERTC=FR\n"
Load = Callable[..., Settings]


class Somebody:
    """A person who answers questions in turn, and what was said to them."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked, self.told = list(replies), [], []

    def say(self, line: str) -> None:
        self.told.append(line)

    def ask(self, question: str, *, hidden: bool = False) -> str:
        self.asked.append((question, hidden))
        return self.replies.pop(0)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def configured(settings: Settings, said: list[str]) -> Callable[..., Configure]:
    def make(console: Somebody | None = None, clock: float = MADE_AT) -> Configure:
        return Configure(settings=settings, console=console, say=said.append, clock=lambda: clock)

    return make


def values(settings: Settings, text: str = ANSWERS, name: str = "packaging/xwconfigure.values") -> Path:
    path = settings.root_folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def contents(parent: Path) -> dict[str, bytes]:
    return {str(path.relative_to(parent)): path.read_bytes() for path in parent.rglob("*") if path.is_file()}


# By a file


def test_file_becomes_a_deployment(configured: Callable[..., Configure], settings: Settings, said: list[str]) -> None:
    values(settings, ANSWERS + "DBHOST=localhost\n")
    made = configured().run(Request())
    assert folder.read(settings.deployments_folder, "grid") == made
    assert (made.about.server, made.about.organisation, made.about.created) == ("grid.example.org", "Example", MADE_AT)
    assert made.admin.password == PASSWORD
    assert any(line.startswith("note: DBHOST is not used: ") for line in said)
    assert not any(PASSWORD in line for line in said)
    assert "next: scripts/doit build" in said[-1]


def test_twice_changes_nothing_and_says_so(
    configured: Callable[..., Configure], settings: Settings, said: list[str]
) -> None:
    values(settings)
    configured().run(Request())
    before = contents(settings.deployments_folder)
    said.clear()
    configured(clock=MADE_AT + 1000).run(Request())
    assert said == ["nothing to do: the deployment 'grid' is as the answers say"]
    assert contents(settings.deployments_folder) == before


def test_certificate_that_ends_soon_is_said(
    configured: Callable[..., Configure], settings: Settings, said: list[str]
) -> None:
    values(settings)
    configured().run(Request())
    configured(clock=MADE_AT + 370 * 86_400).run(Request())
    assert "rotate=server-key" in said[-1]


@pytest.mark.parametrize(
    ("old", "new", "key", "next_step"),
    [
        ("Example", "Other", "CERTO", "name=OTHER"),
        ("grid.example.org", "grid.other.org", "XWSERVER", "name=OTHER"),
        (PASSWORD, PASSWORD.upper(), "XWADMINPASSWORD", "rotate=admin"),
    ],
)
def test_other_answers_change_nothing(
    configured: Callable[..., Configure], settings: Settings, old: str, new: str, key: str, next_step: str
) -> None:
    values(settings)
    configured().run(Request())
    before = contents(settings.deployments_folder)
    values(settings, ANSWERS.replace(old, new))
    with pytest.raises(DeploymentExists, match=f"another answer for {key}$") as caught:
        configured().run(Request())
    assert next_step in caught.value.next_step
    assert PASSWORD.upper() not in caught.value.report()
    assert contents(settings.deployments_folder) == before


def test_another_name_is_another_deployment(configured: Callable[..., Configure], settings: Settings) -> None:
    values(settings)
    one = configured().run(Request())
    other = configured().run(Request(name="second", values=str(values(settings, ANSWERS, "elsewhere"))))
    assert folder.names(settings.deployments_folder) == ["grid", "second"]
    assert one.joins != other.joins
    with pytest.raises(DeploymentError, match="several") as caught:
        configured().run(Request())
    assert caught.value.cause == "grid, second"


def test_password_is_made_when_none_is_given(
    configured: Callable[..., Configure], settings: Settings, said: list[str]
) -> None:
    values(settings, "XWSERVER=grid\n")
    made = configured().run(Request())
    assert any("admin.json" in line for line in said)
    assert not any(made.admin.password in line for line in said)
    configured().run(Request())
    assert said[-1].startswith("nothing to do")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("XWSERVER=grid\nXWADMINPASSWORD=admin\n", WeakPassword, id="weak"),
        pytest.param("XWSERVER=grid\nXWSEVRER=grid\n", UnknownKey, id="unknown key"),
        pytest.param("XWSERVER=https://grid\n", AnswerError, id="wrong form"),
        pytest.param("XWSERVER=$(hostname)\n", ValuesError, id="no plain value"),
    ],
)
def test_what_is_wrong_leaves_nothing(
    configured: Callable[..., Configure], settings: Settings, text: str, error: type[Exception]
) -> None:
    values(settings, text)
    with pytest.raises(error):
        configured().run(Request())
    assert not settings.deployments_folder.exists()


def test_exposed_file_is_refused(configured: Callable[..., Configure], settings: Settings) -> None:
    values(settings).chmod(0o644)
    with pytest.raises(SecretsExposed, match=r"xwconfigure\.values"):
        configured().run(Request())
    assert not settings.deployments_folder.exists()


def test_insecure_demo_takes_a_weak_password(
    configured: Callable[..., Configure], settings: Settings, said: list[str]
) -> None:
    values(settings, "XWSERVER=grid\nXWADMINPASSWORD=admin\n")
    made = configured().run(Request(insecure_demo=True))
    assert made.admin.password == "admin"
    assert made.about.insecure_demo
    assert any("insecure demo" in line for line in said)


def test_nobody_to_ask(configured: Callable[..., Configure]) -> None:
    with pytest.raises(ValuesError, match="there are no answers") as caught:
        configured().run(Request())
    assert "xwconfigure.values.example" in caught.value.next_step


# By questions


def test_questions_with_defaults(configured: Callable[..., Configure]) -> None:
    somebody = Somebody("grid.example.org", "", PASSWORD, "Example", "", "", "fr")
    made = configured(somebody).run(Request())
    assert (made.admin.login, made.admin.password, made.about.country) == ("admin", PASSWORD, "FR")
    assert [hidden for _, hidden in somebody.asked] == [False, False, True, False, False, False, False]
    assert somebody.asked[1][0].endswith("[admin]")
    assert all(key in " ".join(question for question, _ in somebody.asked) for key in ("XWSERVER", "CERTC"))


def test_wrong_answer_is_asked_for_again(configured: Callable[..., Configure]) -> None:
    somebody = Somebody(
        "", "http://grid", "grid", "my root", "root", "root", "short", PASSWORD, "", "", "", "Atlantis", ""
    )
    made = configured(somebody).run(Request())
    assert (made.about.server, made.admin.login, made.about.country) == ("grid", "root", "")
    told = "\n".join(somebody.told)
    assert all(word in told for word in ("host name", "login", "shorter", "country"))
    assert len(somebody.told) == 6


# Renewal


@pytest.mark.parametrize("what", ["server-key", "admin", "join-token", "authority"])
def test_renewal(configured: Callable[..., Configure], settings: Settings, said: list[str], what: str) -> None:
    before = put(settings.deployments_folder)
    after = configured(clock=MADE_AT + 60).run(Request(rotate=what))
    assert folder.read(settings.deployments_folder, "lab") == after
    changed = {
        "server-key": before.server_pem != after.server_pem,
        "admin": before.admin != after.admin,
        "join-token": before.joins != after.joins,
        "authority": before.authorities != after.authorities,
    }
    expected = {what} | ({"server-key"} if what == "authority" else set())
    assert {name for name, differs in changed.items() if differs} == expected
    assert said[0] == f"renewed {what} of the deployment 'lab'"
    assert "xwhep-server-conf" in said[-1]


def test_new_password_comes_from_the_file_when_it_is_new(
    configured: Callable[..., Configure], settings: Settings
) -> None:
    values(settings)
    configured().run(Request())
    made = configured().run(Request(rotate="admin")).admin.password
    assert made != PASSWORD
    values(settings, ANSWERS.replace(PASSWORD, "another horse battery"))
    assert configured().run(Request(rotate="admin")).admin.password == "another horse battery"


def test_new_password_is_asked_for(configured: Callable[..., Configure], settings: Settings) -> None:
    put(settings.deployments_folder)
    somebody = Somebody("tiny", "another horse battery")
    assert configured(somebody).run(Request(rotate="admin")).admin.password == "another horse battery"
    assert all(hidden for _, hidden in somebody.asked)


def test_nothing_to_renew(configured: Callable[..., Configure], settings: Settings) -> None:
    with pytest.raises(DeploymentError):
        configured().run(Request(rotate="admin"))
    put(settings.deployments_folder)
    with pytest.raises(AnswerError, match="renews nothing"):
        configured().run(Request(rotate="everything"))


# As it is typed


@pytest.fixture
def project(repository: Repository) -> Path:
    dodo = (PACKAGING.parent / "dodo.py").read_text()
    repository.write("dodo.py", dodo.replace('str(Path(__file__).parent / "packaging")', repr(str(PACKAGING))))
    return repository.folder


def typed(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "doit", "configure", *words]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
    return subprocess.run(
        argv, cwd=project, env=kept, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_typed_with_a_file(project: Path) -> None:
    file = project / "answers"
    file.write_text(ANSWERS)
    file.chmod(0o600)
    first, second = typed(project, f"values={file}", "name=lab"), typed(project, f"values={file}")
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + first.stderr
    assert "made the deployment 'lab'" in first.stdout
    assert second.stdout == "nothing to do: the deployment 'lab' is as the answers say\n"
    assert typed(project, "rotate=join-token").returncode == 0


def test_typed_wrongly_is_one_clear_error(project: Path) -> None:
    done = typed(project)
    assert done.returncode == 30
    assert "error [values]: there are no answers" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def at_a_terminal(project: Path, replies: list[str]) -> tuple[int, str]:
    """Type `doit configure` at a terminal of its own and answer each question as it comes; status and what was seen."""
    master, slave = pty.openpty()
    argv = ["setsid", "--ctty", sys.executable, "-m", "doit", "configure"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
    process = subprocess.Popen(argv, cwd=project, env=kept, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    seen = ""
    try:
        while chunk := os.read(master, 4096):
            seen += chunk.decode()
            if seen.endswith(("): ", "]: ")):
                os.write(master, replies.pop(0).encode() if replies else b"")
    except OSError:  # the other end of the terminal is closed
        pass
    finally:
        watchdog.cancel()
        os.close(master)
    return process.wait(), seen


def test_at_a_terminal_the_password_is_not_shown(project: Path) -> None:
    replies = [f"{line}\n" for line in ("grid.example.org", "", PASSWORD, "", "", "", "")]
    status, seen = at_a_terminal(project, replies)
    assert status == 0, seen
    assert PASSWORD not in seen
    assert folder.read(project / "deployments", "grid").admin.password == PASSWORD


@pytest.mark.parametrize("answered", [0, 2])
def test_interrupted_at_a_question(project: Path, answered: int) -> None:
    """Ctrl-C where a question waits: it ends at once, and nothing is written."""
    replies = [*["grid\n", "admin\n"][:answered], "\x03"]
    started = time.monotonic()
    status, seen = at_a_terminal(project, replies)
    assert status == 130, seen
    assert time.monotonic() - started < 20
    assert not (project / "deployments").exists()
    assert "Traceback" not in seen


def test_terminal_without_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not configure.Terminal.is_there()
