"""One self-contained page of the last build: everything is read from the store, nothing is made.

latest.json, previous.json ──┐
failure.json ────────────────┤
history, manifests, logs ────┼──> sections, plain values ──> packaging/report/page.html (jinja2) ──> report.html
junit.xml, verify ───────────┘
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xwhep_packaging.errors import StoreError
from xwhep_packaging.seeing import failed, sizes, tested, words
from xwhep_packaging.seeing.changes import SHOWN, changes
from xwhep_packaging.seeing.graph import BOX_HEIGHT, BOX_WIDTH, draw
from xwhep_packaging.seeing.places import JUNIT, ROOT, Places
from xwhep_packaging.seeing.templates import template
from xwhep_packaging.seeing.timeline import Timeline, timeline
from xwhep_packaging.store import Store, write_durably

NAME = "report.html"
LOGS_BYTES = 500_000  # of the page, for all logs together
LOG_BYTES = 24_000  # for one of them, at most
TILES = 48
TILES_RATIO = 2.4  # how many times as wide as high: about what a desk's screen shows
SECTIONS_COLOURED = 5


def write(store: Store) -> Path:
    """Make report.html of the last build; returns its path.

    Raises:
        StoreError: there was no build yet, not even one that failed, or the page cannot be written.
    """
    latest = store.read_latest()
    if latest is None and failed.read(store) is None:
        raise StoreError(
            "there is no build to report on", cause=f"{store.root} has none", next_step="scripts/doit build"
        )
    path = store.root / NAME
    try:
        write_durably(path, render(Places(store), latest).encode())
    except OSError as exc:
        raise StoreError(f"cannot write {path}", cause=str(exc), next_step="check the folder's rights") from exc
    return path


def render(places: Places, latest: Mapping[str, Any] | None) -> str:
    """The whole page; of the failure alone where no build was whole yet. Every text is escaped by the template engine,
    whoever wrote it."""
    shown = sections(places, latest) if latest else {}
    return template("page.html").render(build=latest, **failed.section(places.store), **shown)


def sections(places: Places, latest: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows, by the names it uses."""
    keys: Mapping[str, str] = latest["keys"]
    needs = latest.get("needs", {})
    times = timeline(places.store.history(), keys, needs)
    done = {name: given for name, given in needs.items() if places.folder(keys.get(name, ""))}
    tests = {name: tested.groups(places.file(keys.get(name, ""), JUNIT)) for name in ("network_test", "endurance")}
    return {
        "times": times,
        "ticks": ticks(times.seconds),
        "states": dict.fromkeys(done, "kept") | _states(times),
        "drawing": draw(done),
        "box": (BOX_WIDTH, BOX_HEIGHT),
        "changes": changes(places.store.read_previous(), latest, places),
        "shown": SHOWN,
        "layers": layers(latest["images"]),
        **_base(places, keys),
        "tests": {name: found for name, found in tests.items() if found},
        "verify": _verify(places.store, keys),
        **_logs(places, keys),
    }


def _states(times: Timeline) -> dict[str, str]:
    return {row.step: "critical" if row.critical else "made" for row in times.rows}


def ticks(seconds: float) -> list[int]:
    """Round seconds for the axis: three to seven of them."""
    step = next((step for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800) if seconds / step <= 6), 3600)
    return list(range(0, int(seconds) + 1, step))


def layers(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each layer once, with the images that have it; `apart` is what they would take without sharing."""
    rows: dict[str, dict[str, Any]] = {}
    for image in images:
        for digest, size in zip(image["layers"], image["layer_sizes"], strict=True):
            row = rows.setdefault(digest, {"digest": digest, "size": size, "images": []})
            row["images"].append(image["name"])
    ordered = sorted(rows.values(), key=lambda row: (-len(row["images"]), -row["size"]))
    return {
        "rows": ordered,
        "stored": sum(row["size"] for row in ordered),
        "apart": sum(row["size"] * len(row["images"]) for row in ordered),
        "largest": max((row["size"] for row in ordered), default=1),
    }


def _base(places: Places, keys: Mapping[str, str]) -> dict[str, Any]:
    """The shared root file system by package; empty when the store no longer has it."""
    tarball = places.file(keys.get("base:rootfs", ""), ROOT)
    parts = sizes.packages_of(tarball) if tarball else []
    by_section: dict[str, int] = {}
    for part in parts:
        by_section[part.section] = by_section.get(part.section, 0) + part.size
    largest = sorted((name for name in by_section if name), key=lambda name: -by_section[name])[:SECTIONS_COLOURED]
    return {
        "parts": parts,
        "parts_size": sum(part.size for part in parts),
        "tiles": sizes.treemap(sizes.shortened(parts, TILES), TILES_RATIO),
        "colours": {name: n for n, name in enumerate(largest, 1)},
        "by_section": by_section,
    }


def _verify(store: Store, keys: Mapping[str, str]) -> dict[str, Any] | None:
    """The last `doit verify`, and whether it was of this build."""
    try:
        found = json.loads((store.root / "verify" / "latest.json").read_bytes())
    except (OSError, ValueError):
        return None
    of_this = all(keys.get(step) == key for step, key in found.get("keys", {}).items())
    return {**found, "of_this_build": of_this}


def _logs(places: Places, keys: Mapping[str, str]) -> dict[str, list[words.Excerpt]]:
    """The ends of all logs, so much of each that the page stays small."""
    containers = [path for name in ("network_test", "endurance") for path in places.logs(keys.get(name, ""))]
    steps = list(dict.fromkeys(path for key in keys.values() if (path := places.step_log(key))))
    room = min(LOG_BYTES, LOGS_BYTES // max(1, len(containers) + len(steps)))
    return {
        "container_logs": [words.excerpt(path, room) for path in containers],
        "step_logs": [words.excerpt(path, room) for path in steps if path.stat().st_size],
    }
