"""Asks a notice board what it says."""

import argparse
import urllib.request


def main() -> None:
    parser = argparse.ArgumentParser(prog="notice-ask", description=__doc__)
    parser.add_argument("address", help="such as http://board:8080/")
    print(urllib.request.urlopen(parser.parse_args().address, timeout=5).read().decode().strip())
