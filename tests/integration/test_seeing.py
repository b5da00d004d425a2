"""The page of a real build, in a real browser."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browser import look
from clones import Clone

HOSTILE = """</pre></details></script><img src="pixel.png" onerror="document.title='owned'">
<script>document.title='owned'</script>\n"""
MOST_BYTES = 1_000_000
PHONE, DESK = 390, 1280  # pixels of width
MIDDLE = 128  # of a colour's channels, which are 0 to 255


@pytest.fixture(scope="module")
def page(built: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the build, with a log in it that wants to break out."""
    log = built.store / "logs" / "source-xwhep.log"
    before = log.read_text() if log.exists() else None
    log.write_text((before or "") + HOSTILE)
    try:
        said = built.doit("report")
    finally:
        if before is None:
            log.unlink()
        else:
            log.write_text(before)
    assert str(built.store / "report.html") in said
    copy = tmp_path_factory.mktemp("page") / "site" / "index.html"
    copy.parent.mkdir()
    shutil.copy(built.store / "report.html", copy)
    return copy


@pytest.fixture(scope="module")
def address(page: Path) -> Iterator[str]:
    """A web server of the page's folder on a free port."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=str(page.parent))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_page_tells_of_the_build(page: Path, built: Clone) -> None:
    text, latest = page.read_text(), built.latest()
    assert len(text.encode()) < MOST_BYTES
    for name in ("network_test", "images:server", "libc6", "python3.13-minimal", latest["version"], "server.log"):
        assert name in text, name
    assert "the chain that decided how long it took" in text
    assert f"{latest['network_test']['tests']} passed" in text


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (DESK, True)], ids=["phone, light", "desk, dark"])
def test_page_fits_the_screen_loads_nothing_and_runs_nothing(
    page: Path, address: str, width: int, *, dark: bool
) -> None:
    seen = look(address, page.parent, width, dark=dark)
    assert seen.width == width
    assert seen.title.endswith("build report")
    assert seen.asked == []
    assert (max(seen.paper) < MIDDLE) == dark
    assert (min(seen.ink) > MIDDLE) == dark
    assert "Who waited for whom" in seen.text


def test_the_browser_would_see_what_runs_and_loads(page: Path, address: str) -> None:
    """So that the test above can fail."""
    folder = page.parent
    good = page.read_text()
    page.write_text(f"<!DOCTYPE html><title>build report</title><div style='width:900px'>wide</div>{HOSTILE}")
    try:
        seen = look(address, folder, PHONE)
    finally:
        page.write_text(good)
    assert seen.width > PHONE
    assert seen.title == "owned"
    assert [name.rpartition("/")[2] for name in seen.asked] == ["pixel.png"]
