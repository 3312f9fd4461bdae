"""`bascule demo`: the main job on real documents, told step by step. Imported only when it runs."""

from bascule.cli.demo.story import run

__all__ = ["run"]
