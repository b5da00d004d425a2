"""The page of the nights in a real browser: it fits a phone, has a dark form, loads and runs nothing."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browser import look
from xwhep_packaging.nightly import page
from xwhep_packaging.nightly.history import Night, Seen
from xwhep_packaging.verify.variations import VARIATIONS

PHONE, DESK = 390, 1280  # pixels of width
MIDDLE = 128  # of a colour's channels, which are 0 to 255
NAMES = ["source of xwhep", "xwhep-server", "xwhep-client", "a-package-with-quite-a-long-name-indeed", "image client"]


def nights() -> list[Night]:
    """Half a year, of which the last nights failed."""
    found = []
    for number in range(180):
        bad = number > 170
        states = dict.fromkeys(VARIATIONS, "identical") | ({"date": "different"} if bad else {})
        seen = Seen(variations=states, causes=["timestamp"] if bad else [])
        night = Night(
            at=1_790_000_000 + number * 86400,
            commit=f"{number:040x}",
            version=f"11.0.0~git20261128.{number:04d}+abcdef0",
            failed="verify" if bad else "",
            error="1 of 6 rebuilds gives other bytes" if bad else "",
            artefacts=dict.fromkeys(NAMES, seen),
        )
        found.append(night)
    return found


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (DESK, True)], ids=["phone, light", "desk, dark"])
def test_it_fits_and_asks_for_nothing(tmp_path: Path, width: int, dark: bool) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(page.render(nights(), "xwhep"))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        seen = look(f"http://127.0.0.1:{server.server_port}", site, width, dark=dark)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert seen.width <= width
    assert (max(seen.paper) < MIDDLE) is dark
    assert (min(seen.ink) > MIDDLE) is dark
    assert seen.asked == []
    for words in (*NAMES, "failed at verify", "cause: timestamp; under date"):
        assert words in seen.text
