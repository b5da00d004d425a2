"""Real, small git repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FIRST_COMMIT_TIME = 1_700_000_000  # 2023-11-14 22:13:20 UTC


@dataclass
class Repository:
    """A git repository whose commits are one minute apart."""

    folder: Path
    clock: int = FIRST_COMMIT_TIME

    def git(self, *words: str, environment: dict[str, str] | None = None) -> str:
        options = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "protocol.file.allow=always"]
        return subprocess.run(
            ["git", *options, "-C", str(self.folder), *words],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **(environment or {})},
        ).stdout.strip()

    def write(self, path: str, content: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def commit(self, message: str = "change") -> str:
        """Commit everything; returns the hash."""
        date = f"{self.clock} +0000"
        self.git("add", "--all")
        self.git(
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            message,
            environment={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
        self.clock += 60
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str) -> None:
        self.git("tag", name)


NewRepository = Callable[..., Repository]  # of a name; makes an empty one
