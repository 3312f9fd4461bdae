"""The command line. Nothing heavy is imported here: `bascule --help` and shell completion must be quick."""

from __future__ import annotations


def main() -> None:
    """The console script's entry point: runs one command and exits with its code (see `bascule.cli.failures`)."""
    import sys

    from bascule.cli.app import run

    sys.exit(run(sys.argv[1:]))
