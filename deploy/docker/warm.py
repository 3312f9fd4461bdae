"""Run once in the finished image, as it is built: import all of Bascule, so that a broken image fails here, and so that what is
imported lies there compiled (the root is read-only later)."""

from __future__ import annotations

import importlib
import pkgutil

import bascule

OUTSIDE = (
    "lxml.etree",
    "numpy.linalg",
    "onnxruntime",
    "psycopg",
    "pypdfium2",
    "ssl",
    "sqlite3",
    "tokenizers",
    "usearch.index",
)
NOT_HERE = (
    "bascule.testing",
    "bascule.__main__",
    "bascule.plugins.http_clients.pyreqwest",
)  # the last is an extra left out

names = [module.name for module in pkgutil.walk_packages(bascule.__path__, "bascule.")]
for name in [*OUTSIDE, *(name for name in names if not name.startswith(NOT_HERE))]:
    importlib.import_module(name)
