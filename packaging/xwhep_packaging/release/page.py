"""The page that a release shows in a browser: what it holds, how to install it, how to check it. One file, no script
but the one that fills in the page's own address."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any
from urllib.parse import quote

from xwhep_packaging.release.bills.vulnerabilities import summary

MEGABYTE = 1_000_000
DIGEST_SHOWN = 12

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$product $version</title>
<style>
:root { color-scheme: light dark; --ink: #1f2733; --soft: #5d6776; --line: #dde2e8; --field: #f5f7f9; --paper: #fff;
  --link: #1d5ea8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe4ea; --soft: #98a2b0; --line: #2d343e; --field: #1b2027; --paper: #13171c; --link: #8cb9ef; }
}
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 54rem;
  margin: 0 auto; padding: 2rem 1.2rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.25; margin: 0; }
h1 span { display: block; font-size: 1.15rem; font-weight: 500; color: var(--soft); }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p { margin: .7rem 0; }
.soft, th { color: var(--soft); }
a { color: var(--link); text-underline-offset: .15em; text-decoration-thickness: 1px; }
code, pre { font: .88em/1.5 ui-monospace, monospace; }
pre { margin: .7rem 0; padding: .8rem 1rem; background: var(--field); border: 1px solid var(--line);
  border-radius: .45rem; white-space: pre-wrap; }
.note { padding: .6rem 1rem; border-left: 3px solid var(--line); background: var(--field); }
.note:empty { display: none; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .5rem 1rem .5rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: .85rem; font-weight: 600; }
td:last-child, th:last-child { padding-right: 0; }
td a, .size { white-space: nowrap; }
td a + a { margin-left: .7rem; }
@media (max-width: 42rem) {
  table, tbody, tr, td { display: block; }
  tr.head { display: none; }
  tr { padding: .6rem 0; border-bottom: 1px solid var(--line); }
  td { display: grid; grid-template-columns: 5.5rem 1fr; padding: .1rem 0; border: 0; }
  td::before { content: attr(data-is); font-size: .85rem; color: var(--soft); }
}
</style>
</head>
<body>
<h1>$product <span>$version</span></h1>
<p class="soft">commit <code>$commit</code>, $date</p>
<p class="note">$skipped</p>

<h2>Install on Debian</h2>
<pre>curl -fsS <span class="here">$here</span>/$product-stable.sources |
  sudo tee /etc/apt/sources.list.d/$product.sources
sudo apt update
sudo apt install $first</pre>
<p>Also: $channels. The file holds the key that apt will ask for.</p>

<h2>Images</h2>
<p>An OCI layout of all of them is in <a href="oci/index.json"><code>oci/</code></a>: copy the folder, then
<code>podman pull oci:oci:$example</code>.</p>
<table>
<tr class="head"><th>Image</th><th>Names</th><th>Size</th><th>Made of</th></tr>
$images
</table>

<p><a href="sizes.json">sizes.json</a> says which package brings how many of these megabytes. $vulnerabilities</p>

<h2>Packages</h2>
<table>
<tr class="head"><th>Package</th><th>Version</th><th>SHA256</th><th>Made of</th></tr>
$debs
</table>

<h2>Check it</h2>
<pre>verify-release <span class="here">$here</span> --key release-key.asc</pre>
<p>Key <code>$key</code>. It signs <a href="SHA256SUMS">SHA256SUMS</a> (<a href="SHA256SUMS.asc">signature</a>), the apt
repository, and statements about the build: <a href="attestations/">attestations/</a>.</p>
<p><a href="CHANGELOG.md">What changed</a> · <a href="release.json">release.json</a> ·
<a href="buildinfo/">buildinfo/</a></p>
<script>
if (location.protocol.startsWith("http"))
  for (const place of document.querySelectorAll(".here"))
    place.textContent = new URL(".", location).href.replace(/\\/$$/, "");
</script>
</body>
</html>
""")


def render(content: Mapping[str, Any], url: str, listing: Mapping[str, Any] | None) -> str:
    """The page of one release; `content` is its release.json, `url` where releases are published, if that is known,
    `listing` its vulnerabilities.json, if a database is configured."""
    images = [
        _row(
            {
                "Image": escape(row["name"]),
                "Names": "<br>".join(f"<code>{escape(tag.removesuffix(':latest'))}</code>" for tag in row["tags"]),
                "Size": f'<span class="size">{row["size"] / MEGABYTE:.1f} MB</span>',
                "Made of": _bills(f"{content['product']}-{row['name']}-image"),
            }
        )
        for row in content["images"]
    ]
    debs = [
        _row(
            {
                "Package": escape(row["package"]),
                "Version": escape(row["version"]),
                "SHA256": f"<code title='{row['sha256']}'>{row['sha256'][:DIGEST_SHOWN]}</code>",
                "Made of": _bills(row["package"]),
            }
        )
        for row in content["debs"]
    ]
    skipped = ", ".join(content["skipped"])
    product = content["product"]
    values = {
        "product": product,
        "version": content["version"],
        "commit": content["commit"][:DIGEST_SHOWN],
        "date": content["date"].replace("T", " ").replace("Z", " UTC"),
        "here": f"{url}/{content['version']}" if url else "URL-OF-THIS-PAGE",
        "first": content["debs"][0]["package"],
        "example": content["images"][0]["tags"][0],
        "key": content["key"],
        "skipped": f"Left out for this release: {skipped}." if skipped else "",
    }
    channels = ", ".join(f'<a href="{escape(product)}-{name}.sources">{name}</a>' for name in content["channels"])
    return PAGE.substitute(
        {name: escape(str(value)) for name, value in values.items()},
        channels=channels,
        images="\n".join(images),
        debs="\n".join(debs),
        vulnerabilities=_vulnerabilities(listing),
    )


def _vulnerabilities(listing: Mapping[str, Any] | None) -> str:
    if listing is None:
        return "Known vulnerabilities were not looked up: no database was configured."
    counts, database = summary(listing), listing["database"]
    told = ", ".join(f"{count} {escape(word)}" for word, count in counts.items())
    source = f"{escape(database['file'])} (<code>{database['sha256'][:DIGEST_SHOWN]}</code>)"
    return f'<a href="vulnerabilities.json">Known vulnerabilities</a> of the images: {told}. By {source}.'


def _bills(name: str) -> str:
    """Links to both forms of a bill of materials."""
    forms = {"spdx": "SPDX", "cdx": "CycloneDX"}
    return " ".join(f'<a href="sbom/{quote(name)}.{form}.json">{word}</a>' for form, word in forms.items())


def _row(cells: Mapping[str, str]) -> str:
    """On a phone a row is a block, and each cell says what it is."""
    inside = "".join(f'<td data-is="{name}"><span>{cell}</span></td>' for name, cell in cells.items())
    return f"<tr>{inside}</tr>"
