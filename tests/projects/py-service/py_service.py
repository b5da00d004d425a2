"""Waits and says so."""

import local_thing


def main() -> None:
    print("waiting", local_thing)
