"""A real rebuild: a fresh clone under several variations at once gives the same bits; a planted leak does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clones import Clone

WHOLE_LIMIT_S = 3600
ZONE = "usr/share/xwhep-client/zone"
LEAK = f'override_dh_installdocs:\n\tdh_installdocs\n\techo "zone=$$TZ" > debian/xwhep-client/{ZONE}\n'


def record(clone: Clone, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((clone.store / "verify" / f"{name}.json").read_text())
    return loaded


@pytest.mark.nightly
def test_another_time_zone_gives_the_same_bits(built: Clone) -> None:
    said = built.doit("verify:timezone")
    assert "identical" in said
    latest = record(built, "latest")
    assert latest["identical"] is True
    assert latest["compared"] > 50
    assert latest["differences"] == []


@pytest.mark.nightly
def test_all_pairs_of_variations_give_the_same_bits(built: Clone) -> None:
    process = built.start("verify")
    said, _ = process.communicate(timeout=WHOLE_LIMIT_S)
    assert process.returncode == 0, said
    assert record(built, "latest")["identical"] is True


@pytest.mark.nightly
def test_the_commit_that_brought_a_leak_is_found(built: Clone) -> None:
    before = built.git("rev-parse", "HEAD")
    try:
        built.change("src/xwhep/client/main.py", "# before\n")
        built.change("debian/rules", f"\n{LEAK}")
        wanted = built.git("rev-parse", "HEAD")
        built.change("docs/note.md", "A note.\n")
        built.change("src/xwhep/client/main.py", "# after\n")
        process = built.start("verify:bisect", "variation=timezone", f"good={before}")
        said, _ = process.communicate(timeout=WHOLE_LIMIT_S)
        assert process.returncode == 0, said
        assert record(built, "bisect")["commit"] == wanted
        assert wanted in said
    finally:
        built.git("reset", "--quiet", "--hard", before)


def test_a_leak_is_found_and_named(built: Clone) -> None:
    """A package that writes its time zone down: found by a rebuild in it and in the image, and nothing else is."""
    before = built.git("rev-parse", "HEAD")
    try:
        built.change("debian/rules", f"\n{LEAK}")
        said = built.doit("verify:timezone", code=24)
        assert "error [verify]: 1 of 1 rebuilds give other bytes" in said
        found = record(built, "timezone")["differences"]
        leak = [f for f in found if f["member"].endswith(ZONE)]
        assert leak
        assert {(f["first"], f["second"], f["cause"]) for f in leak} == {("UTC", "Etc/GMT-14", "time zone")}
        assert any(f["file"].startswith("images:client layer") for f in leak)
        assert {f["cause"] for f in found} == {"time zone", "sum of another file"}
        assert ZONE in said
    finally:
        built.git("reset", "--quiet", "--hard", before)
