"""The command tree and its edge: errors become one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import typer

from bascule.cli import (
    admin,
    audit,
    audit_leaks,
    cache,
    checks,
    collections,
    demo_command,
    documents,
    evaluate,
    explain,
    failures,
    ingest,
    jobs,
    keys,
    migrate,
    models,
    questions,
    rights,
    routes,
    secrets,
    source_list,
    sync,
)
from bascule.cli.output import Output
from bascule.core.errors import BasculeError

app = typer.Typer(
    name="bascule",
    help="A gateway for model calls and answers from an organisation's own documents, in one self-hosted service.",
    epilog="Commands open the data folder themselves. With BASCULE_URL and BASCULE_KEY set they speak HTTP instead.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show the log on stderr."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"bascule {installed('bascule')}")
        raise typer.Exit
    if context.invoked_subcommand != "serve":
        _log(logging.INFO if verbose else logging.ERROR)


audit_leaks.add(audit.audit_app)
for module in (
    admin,
    ingest,
    sync,
    source_list,
    questions,
    explain,
    documents,
    rights,
    secrets,
    collections,
    keys,
    jobs,
    routes,
    models,
    cache,
    migrate,
    evaluate,
    checks,
    audit,
    demo_command,
):
    module.register(app)


@lru_cache(maxsize=1)
def _tree() -> Any:
    """Every command with its options: most of what a short command costs, so it is made once."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Nothing but SystemExit of the interpreter's own making escapes."""
    try:
        result = _tree()(list(arguments), prog_name="bascule", standalone_mode=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else failures.OK if ended.code is None else failures.FAILED
    except BasculeError as error:
        Output().problem(str(error))
        return failures.exit_code(error)
    except (KeyboardInterrupt, EOFError):
        return failures.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.FAILED
    except Exception as error:  # noqa: BLE001 - the outermost edge of the command line
        return _unexpected(error)
    return result if isinstance(result, int) else failures.OK


def _unexpected(error: Exception) -> int:
    if os.environ.get("BASCULE_DEBUG"):
        raise error
    text = str(error).splitlines()[0][:300] if str(error) else ""
    Output().problem(f"unexpected {type(error).__name__}: {text} (BASCULE_DEBUG=1 shows where)")
    return failures.STORAGE if isinstance(error, OSError) else failures.FAILED


def _log(level: int) -> None:
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
