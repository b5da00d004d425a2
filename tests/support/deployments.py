"""Deployments for tests: made as `doit configure` makes them."""

from __future__ import annotations

from pathlib import Path

from xwhep_packaging.deployment import folder, making
from xwhep_packaging.deployment.answers import Answers
from xwhep_packaging.deployment.records import Deployment

MADE_AT = 1_795_825_740  # 2026-11-28 00:29:00 UTC
PASSWORD = "correct horse battery"


def deployment(name: str = "lab", now: int = MADE_AT) -> Deployment:
    answers = Answers(server="grid.example.org", admin_password=PASSWORD, organisation="Example", country="FR")
    return making.make(answers, name, now)


def put(parent: Path, name: str = "lab", now: int = MADE_AT) -> Deployment:
    made = deployment(name, now)
    folder.write(parent, made)
    return made
