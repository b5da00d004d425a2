"""The Containerfile of an image that the pipeline file describes."""

from __future__ import annotations

from xwhep_packaging import containerfile
from xwhep_packaging.definitions import HealthCheck, Image

IMAGE = Image(
    debs={"shop": ["shop"]},
    user="940:941",
    ports=[8080, 9090],
    volumes=["/var/lib/shop", "/srv/files"],
    environment={"B": 'two "$words"', "A": "one"},
    entrypoint=["/usr/bin/tini", "--", "/usr/bin/shop"],
    command=["serve"],
    health=HealthCheck(command=["/usr/bin/shop", "--check"], interval_s=3),
)


def test_everything_that_is_described_is_said() -> None:
    lines = containerfile.render("shop-server", IMAGE).splitlines()
    assert lines[:3] == ["ARG BASE", "FROM ${BASE}", "ARG SOURCE_DATE_EPOCH"]
    assert lines[3].startswith("RUN --mount=type=bind,source=.,target=/run/debs dpkg --install /run/debs/*.deb && ")
    assert "install -d -o 940 -g 941 -m 0700 /var/lib/shop && " in lines[3]
    assert lines[4:6] == ['ENV A="one"', 'ENV B="two \\"\\$words\\""']
    for line in (
        "USER 940:941",
        'VOLUME ["/var/lib/shop"]',
        'VOLUME ["/srv/files"]',
        "WORKDIR /var/lib/shop",
        "EXPOSE 8080",
        "EXPOSE 9090",
        "STOPSIGNAL SIGTERM",
        'ENTRYPOINT ["/usr/bin/tini", "--", "/usr/bin/shop"]',
        'CMD ["serve"]',
        'LABEL org.opencontainers.image.title="shop-server"',
        'LABEL org.opencontainers.image.revision="${REVISION}"',
    ):
        assert line in lines
    check = "HEALTHCHECK --interval=3s --timeout=5s --start-period=10s --retries=3"
    assert f'{check} CMD ["/usr/bin/shop", "--check"]' in lines


def test_nobody_is_the_user_when_none_is_named_and_nothing_else_is_said() -> None:
    text = containerfile.render("x", Image(debs={}, entrypoint=["/bin/true"]))
    assert "USER 65534:65534\n" in text
    for word in ("VOLUME", "EXPOSE", "HEALTHCHECK", "ENV", "CMD", "WORKDIR"):
        assert word not in text


def test_group_is_the_users_unless_named() -> None:
    assert containerfile.owner("990") == ("990", "990")
    assert containerfile.owner("990:33") == ("990", "33")
