"""`doit configure`: answers become a deployment, or one of its secrets is renewed.

values=FILE, packaging/xwconfigure.values, or questions ──> answers, checked ──> deployments/NAME/
                                        rotate=WHAT ──> the same with a new secret ──┘
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from xwhep_packaging.console import Console, Terminal
from xwhep_packaging.deployment import answers, folder
from xwhep_packaging.deployment.answers import Answers, checked, explained, normal_answer
from xwhep_packaging.deployment.meanings import without_meaning
from xwhep_packaging.deployment.payload import version
from xwhep_packaging.deployment.records import ROLES, Deployment
from xwhep_packaging.deployment.values import read_values
from xwhep_packaging.errors import (
    AnswerError,
    DeploymentError,
    DeploymentExists,
    PipelineError,
    ValuesError,
    WeakPassword,
)
from xwhep_packaging.settings import VALUES_FILE, Settings

QUESTIONS = {
    "server": "name of the server, that workers and clients connect to (XWSERVER)",
    "admin_login": "administrator's login (XWADMINLOGIN)",
    "admin_password": "administrator's password, empty to have one made (XWADMINPASSWORD)",
    "organisation": "organisation, for the certificates (CERTO)",
    "unit": "unit of it (CERTOU)",
    "place": "place (CERTL)",
    "country": "country, two letters (CERTC)",
}
DEFAULTS = {"admin_login": answers.DEFAULT_LOGIN}
RENEW_BEFORE_S = 30 * 86400


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was typed. Empty: the usual file or questions, the usual name, no renewal."""

    name: str = ""
    values: str = ""
    rotate: str = ""
    insecure_demo: bool = False


@dataclass(frozen=True, kw_only=True)
class Configure:
    """Where deployments lie, whom to ask (None: nobody), and the clock (UTC seconds)."""

    settings: Settings
    console: Console | None = field(default_factory=lambda: Terminal() if Terminal.is_there() else None)
    say: Callable[[str], None]
    clock: Callable[[], float] = time.time

    @property
    def parent(self) -> Path:
        return self.settings.deployments_folder

    def run(self, request: Request) -> Deployment:
        """Make, renew, or find that nothing is to be done; says which.

        Raises:
            PipelineError: see errors.py, 30 to 36; nothing was changed then.
        """
        return self._rotate(request) if request.rotate else self._make(request)

    def _make(self, request: Request) -> Deployment:
        given = self._answers(request)
        name = folder.checked_name(self._name(request) or given.server.partition(".")[0])
        if name in folder.names(self.parent):
            return self._unchanged(name, given)
        from xwhep_packaging.deployment import making  # slow to import, and most runs make nothing

        made = making.make(given, name, self._now(), insecure_demo=request.insecure_demo)
        place = folder.write(self.parent, made)
        self.say(f"made the deployment {name!r} in {place}")
        if not given.admin_password:
            self.say(f"the password of {made.admin.login!r} was made for you: see {place / 'admin.json'}")
        if request.insecure_demo:
            self.say("an insecure demo: never let others reach it")
        self.say("next: scripts/doit build makes its packages and images; keep the folder, and a backup of it, secret")
        return made

    def _unchanged(self, name: str, given: Answers) -> Deployment:
        known = folder.read(self.parent, name)
        differing = answers.differences(given, answers_of(known))
        if differing:
            next_step = f"scripts/doit configure name={name} rotate=admin"
            if differing != ["XWADMINPASSWORD"]:
                next_step = (
                    "scripts/doit configure name=OTHER makes another one; without its folder a grid loses its workers"
                )
            raise DeploymentExists(
                f"the deployment {name!r} exists, with another answer for {', '.join(differing)}", next_step=next_step
            )
        self.say(f"nothing to do: the deployment {name!r} is as the answers say")
        self._say_when_old(known)
        return known

    def _say_when_old(self, known: Deployment) -> None:
        until = known.about.certificate_until
        day = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d")
        if until - self._now() < RENEW_BEFORE_S:
            self.say(
                f"the server's certificate ends {day}: scripts/doit configure name={known.about.name} rotate=server-key"
            )

    def _rotate(self, request: Request) -> Deployment:
        name = self._name(request)
        if not name:
            raise DeploymentError("there is no deployment to renew something of", next_step="scripts/doit configure")
        before = folder.read(self.parent, name)
        from xwhep_packaging.deployment import making

        password = self._new_password(request, before) if request.rotate == "admin" else ""
        after = making.rotated(before, request.rotate, self._now(), password)
        place = folder.write(self.parent, after)
        self.say(f"renewed {request.rotate} of the deployment {name!r}")
        if request.rotate == "admin" and not password:
            self.say(f"the new password of {after.admin.login!r} was made for you: see {place / 'admin.json'}")
        changed = [role for role in ROLES if version(before, role) != version(after, role)]
        packages = ", ".join(f"xwhep-{role}-conf" for role in changed)
        self.say(f"next: scripts/doit build, then install {packages} where it runs")
        return after

    def _new_password(self, request: Request, before: Deployment) -> str:
        """From the file when it says another one than before; else asked for; else made."""
        file = self._values_file(request)
        if file:
            given = answers.from_values(read_values(file), insecure_demo=request.insecure_demo)
            return "" if given.admin_password == before.admin.password else given.admin_password
        if self.console is None:
            return ""
        known = {"server": before.about.server, "admin_login": before.admin.login}
        return self._ask("admin_password", known, request.insecure_demo)

    def _answers(self, request: Request) -> Answers:
        file = self._values_file(request)
        if file:
            values = read_values(file)
            given = answers.from_values(values, insecure_demo=request.insecure_demo)
            for line in without_meaning(values):
                self.say(f"note: {line}")
            return given
        if self.console is None:
            raise ValuesError(
                "there are no answers",
                cause=f"{VALUES_FILE} does not exist, and no terminal is there to ask at",
                next_step=f"cp {VALUES_FILE}.example {VALUES_FILE}; chmod 600 {VALUES_FILE}; fill it in",
            )
        given_answers: dict[str, str] = {}
        for name in QUESTIONS:
            given_answers[name] = self._ask(name, given_answers, request.insecure_demo)
        return checked(given_answers, insecure_demo=request.insecure_demo)

    def _ask(self, name: str, known: dict[str, str], insecure_demo: bool) -> str:
        """Ask until the answer is one; an empty answer is the default."""
        assert self.console is not None  # noqa: S101 - asked only where somebody is there
        default = DEFAULTS.get(name, "")
        hint = f" [{default}]" if default else ""
        while True:
            answer = self.console.ask(QUESTIONS[name] + hint, hidden=name == "admin_password") or default
            try:
                if not answer and name != "server":
                    return ""
                normal = normal_answer(name, answer)
                if name == "admin_password":
                    checked({**known, name: normal}, insecure_demo=insecure_demo)
            except (AnswerError, WeakPassword) as error:
                self._say_again(error)
            else:
                return normal

    def _say_again(self, error: PipelineError) -> None:
        assert self.console is not None  # noqa: S101
        self.console.say(f"  {explained(error)}")

    def _values_file(self, request: Request) -> Path | None:
        if request.values:
            return Path(request.values)
        usual = self.settings.root_folder / VALUES_FILE
        return usual if usual.exists() else None

    def _name(self, request: Request) -> str:
        """What was typed, else the settings', else the only one there is; empty when there is none."""
        found = folder.names(self.parent)
        named = request.name or self.settings.deployment.name
        if not named and len(found) > 1:
            raise DeploymentError(
                "there are several deployments",
                cause=", ".join(found),
                next_step="say which: scripts/doit configure name=NAME",
            )
        return named or next(iter(found), "")

    def _now(self) -> int:
        return int(self.clock())


def answers_of(deployment: Deployment) -> Answers:
    about = deployment.about
    return Answers(
        server=about.server,
        admin_login=deployment.admin.login,
        admin_password=deployment.admin.password,
        organisation=about.organisation,
        unit=about.unit,
        place=about.place,
        country=about.country,
    )
