"""The child that holds the model: `python -m bascule.plugins.providers.llama.runner`.

One line of JSON comes in (what to load), one goes out (where it listens, or why not). It ends when its input does, so it never
outlives the server that started it. Its own server listens on loopback under a key that only the parent knows, and does nothing but
chats: no web page, no files, no downloads, and nothing kept of one call for the next, which another caller could feel.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the library prints
    asked = json.loads(sys.stdin.readline())
    try:
        server = _serve(asked)
        told = {"address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - the edge of this process: whatever it is goes to the parent
        told = {"error": f"{type(error).__name__}: {error}"[:500]}
    replies.write(json.dumps(told) + "\n")
    replies.flush()
    if "address" in told:
        sys.stdin.read()
    os._exit(0)  # the library's threads are in the middle of something


def _serve(asked: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["file"]
    params.model_alias = {"local"}  # what answers name, instead of the file's path
    params.n_ctx = asked["context_tokens"] * asked["parallel"]
    params.n_parallel = asked["parallel"]
    params.cpuparams.n_threads = asked["threads"]
    params.cpuparams_batch.n_threads = asked["threads"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [asked["key"]]
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.offline = True
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.verbosity = 0
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
