"""The page that a release shows in a browser: what it holds, how to install it, how to check it. One file, no script
but the one that fills in the page's own address."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any
from urllib.parse import quote

from xwhep_packaging.release.vulnerabilities import summary

MEGABYTE = 1_000_000
DIGEST_SHOWN = 12

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$product $version</title>
<style>
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .4rem; overflow-x: auto; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child, th:last-child { padding-right: 0; }
</style>
</head>
<body>
<h1>$product $version</h1>
<p>of commit <code>$commit</code>, $date</p>

<h2>Install on Debian</h2>
<pre>curl -fsS <span class="here">$here</span>/$product-stable.sources \\
  | sudo tee /etc/apt/sources.list.d/$product.sources
sudo apt update
sudo apt install $first</pre>
<p>Also: $channels. The file holds the key that apt will ask for.</p>

<h2>Images</h2>
<p>An OCI layout of all of them is in <a href="oci/index.json"><code>oci/</code></a>: copy the folder, then
<code>podman pull oci:oci:$example</code>.</p>
<div class="table"><table>
<tr><th>Image</th><th>Names</th><th>Size</th><th>Made of</th></tr>
$images
</table></div>

<p><a href="sizes.json">sizes.json</a> says which package brings how many of these megabytes. $vulnerabilities</p>

<h2>Packages</h2>
<div class="table"><table>
<tr><th>Package</th><th>Version</th><th>SHA256</th><th>Made of</th></tr>
$debs
</table></div>

<h2>Check it</h2>
<pre>verify-release <span class="here">$here</span> --key release-key.asc</pre>
<p>Key <code>$key</code>. It signs <a href="SHA256SUMS">SHA256SUMS</a> (<a href="SHA256SUMS.asc">signature</a>), the apt
repository, and statements about the build: <a href="attestations/">attestations/</a>. $skipped</p>
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
            escape(row["name"]),
            "<br>".join(f"<code>{escape(tag.removesuffix(':latest'))}</code>" for tag in row["tags"]),
            f"{row['size'] / MEGABYTE:.1f} MB",
            _bills(f"{content['product']}-{row['name']}-image"),
        )
        for row in content["images"]
    ]
    debs = [
        _row(
            escape(row["package"]),
            escape(row["version"]),
            f"<code title='{row['sha256']}'>{row['sha256'][:DIGEST_SHOWN]}</code>",
            _bills(row["package"]),
        )
        for row in content["debs"]
    ]
    skipped = ", ".join(content["skipped"])
    product = content["product"]
    values = {
        "product": product,
        "version": content["version"],
        "commit": content["commit"][:DIGEST_SHOWN],
        "date": content["date"],
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


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
