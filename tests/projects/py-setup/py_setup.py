"""Prints a table of texts."""

import argparse


def main() -> None:
    argparse.ArgumentParser(prog="py-setup", description=__doc__).parse_args()
    print("text")
