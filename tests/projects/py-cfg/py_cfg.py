"""Counts words."""

import sys


def main() -> None:
    print(len(sys.stdin.read().split()))
