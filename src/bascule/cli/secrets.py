"""secrets rotate."""

from __future__ import annotations

import typer

from bascule.cli.options import Config, Data, Json
from bascule.cli.output import Output

secrets_app = typer.Typer(help="The secrets of the data folder.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(secrets_app, name="secrets")


@secrets_app.command("rotate")
def rotate(data: Data = None, config: Config = None, json_mode: Json = False) -> None:
    """Encrypt every secret of the data folder with secrets.key; without one, keep them in clear again.

    Those under secrets.old_keys are opened by these. A secret is the old one or the new one whenever this is broken off: run it
    again. Running servers need no restart.
    """
    from bascule.bootstrap.sealing import open_seal
    from bascule.core.errors import ConfigError
    from bascule.db.sealing import reseal
    from bascule.settings import load

    settings = load(config, data=data)
    folder = settings.data / "secrets"
    if not folder.is_dir():
        raise ConfigError(f"There is no data folder at {settings.data}. Run: bascule init --data {settings.data}")
    seal = open_seal(settings)
    done = [{"secret": name, "was": held} for name, held in reseal(folder, seal)]
    out, now = Output(json_mode), "sealed" if seal.closes else "clear"
    if json_mode:
        out.document({"now": now, "secrets": done})
        return
    out.table(["secret", "was", "is"], [(row["secret"], row["was"], now) for row in done], "No secrets.")
