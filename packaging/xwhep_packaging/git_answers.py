"""What git said: asked once a run, and what can never change is kept between runs (a process costs 8 ms)."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import PipelineError, SourceError

# The user's git configuration is kept (credentials, mirrors), but nothing in it may change an answer.
ASK_OPTIONS = ("core.autocrlf=false", "core.attributesFile=/dev/null", "safe.directory=*")
GIT_ENVIRONMENT: Mapping[str, str] = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
KEPT = 256  # answers; a build asks some twenty of each commit


def git_command(repository: Path, *words: str) -> list[str]:
    """One git call on `repository`, with every option that could change the output pinned."""
    options = [part for option in ASK_OPTIONS for part in ("-c", option)]
    return ["git", *options, "-C", str(repository), *words]


class Answers:
    """One object a run: a commit made meanwhile changes nothing half-way. `memory` is a file for the next run."""

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._asked: dict[str, str | None] = {}
        self._fixed: dict[str, str] | None = None
        self._coming: dict[str, threading.Thread] = {}

    def ask(self, repository: Path, *words: str) -> str:
        """What git prints.

        Raises:
            SourceError: it fails.
        """
        return command.run(Command(argv=git_command(repository, *words), env=GIT_ENVIRONMENT, error=SourceError)).stdout

    def once(self, repository: Path, *words: str) -> str:
        """The same, asked once a run."""
        key = json.dumps([str(repository), *words])
        if coming := self._coming.pop(key, None):
            coming.join()
        if key not in self._asked:
            self._asked[key] = self.ask(repository, *words)
        return str(self._asked[key])

    def ahead(self, repository: Path, *words: str) -> None:
        """Ask beside what is done meanwhile; `once` waits for the answer. An error comes up there."""
        key = json.dumps([str(repository), *words])
        if key in self._asked or key in self._coming:
            return

        def ask() -> None:
            with contextlib.suppress(PipelineError):
                self._asked[key] = self.ask(repository, *words)

        self._coming[key] = threading.Thread(target=ask)
        self._coming[key].start()

    def perhaps(self, repository: Path, *words: str) -> str | None:
        """What git prints, without blanks around it, asked once a run; None when it fails."""
        key = json.dumps([str(repository), *words])
        if key not in self._asked:
            result = command.run(Command(argv=git_command(repository, *words), env=GIT_ENVIRONMENT), check=False)
            self._asked[key] = result.stdout.strip() if result.returncode == 0 else None
        return self._asked[key]

    def fixed(self, repository: Path, *words: str) -> str:
        """What git prints to words that name a full commit of a repository whose history is whole: always the same."""
        if self._fixed is None:
            self._fixed = self._remembered()
        key = json.dumps([str(repository), *words])
        known = self._fixed.get(key)
        if known is None:
            known = self._fixed[key] = self.once(repository, *words)
            self._remember(self._fixed)
        return known

    def _remembered(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._memory.read_text(encoding="utf-8"))) if self._memory else {}
        except (OSError, ValueError, TypeError):  # none yet, or half of one: git is asked again
            return {}

    def _remember(self, answers: dict[str, str]) -> None:
        if self._memory is None:
            return
        kept = dict(list(answers.items())[-KEPT:])
        temporary = self._memory.with_name(f".{self._memory.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(self._memory)
        except OSError:  # a full disk is told by what has to be written
            with contextlib.suppress(OSError):  # even where there is none: the disk may only be read
                temporary.unlink(missing_ok=True)
