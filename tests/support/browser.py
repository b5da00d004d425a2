"""A page as headless Chromium shows it: how wide it gets, which colours it takes, what it asks for elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

LIMIT_S = 60
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe src="{page}" style="width:{width}px; height:900px; border:0"></iframe><pre id="seen"></pre>
<script>
addEventListener("load", () => {{
  const frame = document.querySelector("iframe"), view = frame.contentWindow, root = frame.contentDocument;
  const style = view.getComputedStyle(root.body);
  document.querySelector("#seen").textContent = JSON.stringify({{
    title: root.title, width: root.documentElement.scrollWidth, text: root.body.innerText,
    paper: style.backgroundColor, ink: style.color,
    asked: view.performance.getEntriesByType("resource").map(entry => entry.name),
  }});
}});
</script>"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """`width`: pixels that the page wants; `paper` and `ink`: its colours, red, green and blue; `asked`: addresses."""

    title: str
    width: int
    text: str
    paper: tuple[int, ...]
    ink: tuple[int, ...]
    asked: list[str]


def look(address: str, folder: Path, width: int, *, dark: bool = False) -> Seen:
    """`address`: where a server shows `folder`, which holds index.html; a frame is put beside it."""
    (folder / "frame.html").write_text(FRAME.format(page="index.html", width=width))
    argv = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={folder.parent / 'chromium'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={max(width, 500) + 100},1000",
        "--virtual-time-budget=5000",
        "--dump-dom",
        f"{address}/frame.html",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=LIMIT_S)
    (folder / "frame.html").unlink()
    found = re.search(r'<pre id="seen">(\{.*?\})</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads(unescape(found[1]))
    colours = {name: tuple(map(int, re.findall(r"\d+", seen[name])[:3])) for name in ("paper", "ink")}
    return Seen(**{**seen, **colours})
