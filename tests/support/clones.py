"""Clones of this repository, built as a stranger builds them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD_LIMIT_S = 600


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A clone of this repository with a store of its own."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "_build"

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("XWHEP_") and name != "DOCKER_HOST"
        }
        return {**kept, **extra}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        argv = [str(self.folder / "scripts" / "doit"), *words]
        return subprocess.Popen(
            argv,
            cwd="/",
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def doit(self, *words: str, code: int = 0, **environment: str) -> str:
        process = self.start(*words, **environment)
        try:
            out, _ = process.communicate(timeout=BUILD_LIMIT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
            raise
        assert process.returncode == code, out
        return out

    def keep_main_job_only(self) -> None:
        """Commit a network test without what goes beyond the main job: it takes long, and `doit build` of this very
        commit has run it already. What was replaced stays as it is."""
        folder = self.folder / "tests" / "network"
        beyond = [path for path in sorted(folder.glob("test_*.py")) if path.name != "test_main_job.py"]
        if not beyond or not (folder / "test_main_job.py").is_file():
            return
        for path in beyond:
            path.unlink()
        self.git("commit", "--quiet", "--all", "--message", "the main job only")

    def replace_network_test(self, text: str) -> None:
        """Commit a network test that is `text` and nothing else."""
        folder = self.folder / "tests" / "network"
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()
        (folder / "test_all.py").write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "another network test")

    def latest(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.store / "latest.json").read_text())
        return report

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *words], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def change(self, path: str, text: str) -> None:
        """Append `text` to a file and commit it."""
        (self.folder / path).parent.mkdir(exist_ok=True)
        with (self.folder / path).open("a") as stream:
            stream.write(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {path}")
