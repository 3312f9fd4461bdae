"""What a model call costs in the server, beside its floors in the same run.

Started for real: `bascule serve` as a process of its own with a configuration, a key with limits and every layer on, before an
upstream that answers at once; LiteLLM beside it where `make peer` has installed it. Only the CPU of the measured process counts.
About 40 s, 80 s with the peer.
    python bench/bench_gateway.py [--json FILE] [--calls 4000] [--connections 64] [--http-client aiohttp]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import bench_http_client as proxies
import load

QUESTION = b'{"model":"fast","messages":[{"role":"user","content":"%d: what is a bascule bridge?"}],"max_tokens":64}'
STREAM = b'{"model":"fast","stream":true,"messages":[{"role":"user","content":"%d"}],"max_tokens":64}'
PEER = Path(__file__).parent.parent / ".venv-peer" / "bin" / "litellm"
CONFIG = """
[gateway]
timeout_s = 15
http_client = "{http_client}"
[providers.main]
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
[models.fast]
targets = [{{ provider = "main", model = "bench", input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0 }}]
[rag]
enabled = {rag}
"""


PEER_CONFIG = """
model_list:
  - model_name: fast
    litellm_params:
      {{ model: openai/bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none,
        input_cost_per_token: 0.000001, output_cost_per_token: 0.000002 }}
general_settings: {{ master_key: sk-bench }}
litellm_settings: {{ telemetry: false{cache} }}
"""
PEER_CACHE = ", cache: true, cache_params: { type: local }"


class Peer:
    """LiteLLM's proxy, one worker, from the environment `make peer` makes. `cache`: its in-memory cache is on."""

    def __init__(self, folder: Path, upstream: int, *, cache: bool) -> None:
        config = folder / f"peer-{cache}.yaml"
        config.write_text(PEER_CONFIG.format(upstream=upstream, cache=PEER_CACHE if cache else ""), encoding="utf-8")
        self.port, self.key = load.free_port(), "sk-bench"
        self._command = [str(PEER), "--config", str(config), "--host", "127.0.0.1", "--port", str(self.port)]

    def __enter__(self) -> Peer:
        offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._command, env=os.environ | offline, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        load.wait_for(self.port, 60)
        self.start_s = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        load.end(self._process)

    @property
    def pids(self) -> list[int]:
        main = psutil.Process(self._process.pid)
        return [main.pid, *(child.pid for child in main.children(recursive=True))]

    rss_mib = property(lambda self: sum(psutil.Process(p).memory_info().rss for p in self.pids) / 2**20)

    def make(self, body: bytes) -> Callable[[int], bytes]:
        return lambda i: load.request_bytes(
            self.port, "/v1/chat/completions", body % i if b"%d" in body else body, self.key
        )


async def measure_peer(peer: Peer, *, hits: bool) -> list[dict[str, object]]:
    shared: dict[str, Any] = {"connections": 64, "limit_s": 15.0, "pids": peer.pids}
    await load.drive(peer.port, peer.make(QUESTION.replace(b"%d:", b"warm %d:")), calls=100, **shared)
    if hits:
        same = peer.make(QUESTION.replace(b"%d", b"same"))
        await load.drive(peer.port, same, calls=1, **{**shared, "connections": 1})
        return [(await load.drive(peer.port, same, calls=600, **shared)).row("peer: LiteLLM, cache hit")]
    rows = [(await load.drive(peer.port, peer.make(QUESTION), calls=600, **shared)).row("peer: LiteLLM, proxied call")]
    for streams in (1, 64):
        make = peer.make(STREAM.replace(b"%d", b"%%d-%d" % streams))
        result = await load.drive(peer.port, make, calls=streams * 3, **{**shared, "connections": streams})
        rows.append(result.row(f"peer: LiteLLM, {streams} streams"))
    return rows


def measure_peers(folder: Path, upstream: int) -> list[dict[str, object]]:
    if not PEER.is_file():
        print("LiteLLM is not measured: `make peer` installs it in an environment of its own")
        return []
    with Peer(folder, upstream, cache=False) as peer:
        idle = peer.rss_mib
        rows = asyncio.run(measure_peer(peer, hits=False))
        memory = {"rss_idle_mib": round(idle, 1), "rss_load_mib": round(peer.rss_mib, 1)}
        rows.append({"name": "peer: LiteLLM", "start_s": round(peer.start_s, 2), **memory})
    with Peer(folder, upstream, cache=True) as peer:
        rows += asyncio.run(measure_peer(peer, hits=True))
    return rows


class Server:
    """`bascule serve` on a fresh data folder. `start_s` until /readyz says 200."""

    def __init__(self, folder: Path, upstream: int, *, rag: bool, http_client: str) -> None:
        folder.mkdir(mode=0o700)
        self._data = folder / "data"
        self._config = folder / "bascule.toml"
        values = {"upstream": upstream, "rag": str(rag).lower(), "http_client": http_client}
        self._config.write_text(CONFIG.format(**values), encoding="utf-8")
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("BASCULE_")}
        self.port = load.free_port()

    def _run(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "bascule", *arguments, "--data", str(self._data)]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, check=False)
        if done.returncode:
            raise SystemExit(f"bascule {arguments[0]} failed: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)

    def __enter__(self) -> Server:
        self._run("init", "--json")
        limits = ["--rpm", "1000000000", "--tpm", "1000000000", "--usd-per-day", "1000000"]
        self.key = str(self._run("keys", "create", "--name", "bench", *limits, "--scope", "chat", "--json")["key"])
        command = [sys.executable, "-m", "bascule", "serve", "--data", str(self._data), "--config", str(self._config)]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.port)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        load.wait_for(self.port)
        asyncio.run(self._ready())
        self.start_s = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        load.end(self._process)

    async def _ready(self) -> None:
        stop_at = time.perf_counter() + 30
        while time.perf_counter() < stop_at:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            head = await reader.readline()
            writer.close()
            if b" 200 " in head:
                return
            await asyncio.sleep(0.01)
        raise SystemExit("the server did not become ready")

    @property
    def pids(self) -> list[int]:
        return [self._process.pid]

    def rss_mib(self) -> float:
        """Resident memory of the server and its children."""
        main = psutil.Process(self._process.pid)
        return float(sum(p.memory_info().rss for p in [main, *main.children(recursive=True)])) / 2**20

    def make(self, body: bytes) -> Callable[[int], bytes]:
        return lambda i: load.request_bytes(
            self.port, "/v1/chat/completions", body % i if b"%d" in body else body, self.key
        )


def memory_row(name: str, server: Server, idle_mib: float) -> dict[str, object]:
    return {
        "name": name,
        "start_s": round(server.start_s, 2),
        "rss_idle_mib": round(idle_mib, 1),
        "rss_load_mib": round(server.rss_mib(), 1),
    }


async def measure_server(server: Server, calls: int, connections: int) -> list[dict[str, object]]:
    shared: dict[str, Any] = {"connections": connections, "limit_s": 8.0, "pids": server.pids}
    await load.drive(server.port, server.make(QUESTION.replace(b"%d:", b"warm %d:")), calls=300, **shared)
    missed = await load.drive(server.port, server.make(QUESTION), calls=calls, **shared)
    same = QUESTION.replace(b"%d", b"same")
    await load.drive(server.port, server.make(same), calls=1, **{**shared, "connections": 1})
    hit = await load.drive(server.port, server.make(same), calls=calls * 2, **shared)
    rows = [missed.row("bascule: proxied call, every layer on"), hit.row("bascule: cache hit")]
    for streams in (1, 64):
        make = server.make(STREAM.replace(b"%d", b"%%d-%d" % streams))
        stream = await load.drive(server.port, make, calls=streams * 3, **{**shared, "connections": streams})
        rows.append(stream.row(f"bascule: {streams} streams"))
    return rows


async def measure_upstream(port: int, calls: int, connections: int, pid: int) -> list[dict[str, object]]:
    make = proxies._make
    shared: dict[str, Any] = {"limit_s": 8.0, "pids": [pid]}
    plain = await load.drive(port, make(port, proxies.BODY), connections=connections, calls=calls, **shared)
    rows = [plain.row("floor: the upstream itself")]
    for streams in (1, 64):
        result = await load.drive(
            port, make(port, proxies.STREAM_BODY), connections=streams, calls=streams * 3, **shared
        )
        rows.append(result.row(f"floor: {streams} streams of the upstream itself"))
    return rows


def added_first_byte(rows: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Time to the first token through the server less that of the upstream alone."""
    by_name = {row["name"]: row for row in rows}
    found: list[dict[str, object]] = []
    for streams in (1, 64):
        floor, through = (
            by_name[f"floor: {streams} streams of the upstream itself"],
            by_name[f"bascule: {streams} streams"],
        )
        at = "first_byte_p50_ms"
        if floor[at] is not None and through[at] is not None:
            found.append(
                {"name": f"added first token at {streams} streams", "added_ms": round(through[at] - floor[at], 3)}
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--http-client", default="httptools")
    given = parser.parse_args()
    upstream, port = load.start_upstream()
    rows: list[dict[str, Any]] = []
    try:
        rows += asyncio.run(measure_upstream(port, given.calls, given.connections, upstream.pid))
        for kind in ("httptools", "aiohttp", "pyreqwest"):
            if importlib.util.find_spec(kind) is not None:
                found = proxies.measure(kind, port, given.calls, given.connections)
                rows += [row | {"name": f"floor: bare proxy, {row['name']}"} for row in found]
        with tempfile.TemporaryDirectory() as folder:
            with Server(Path(folder) / "gateway", port, rag=False, http_client=given.http_client) as server:
                idle_mib = server.rss_mib()
                rows += asyncio.run(measure_server(server, given.calls, given.connections))
                rows.append(memory_row("bascule: gateway only", server, idle_mib))
            with Server(Path(folder) / "rag", port, rag=True, http_client=given.http_client) as server:
                rows.append(memory_row("bascule: with rag, idle", server, server.rss_mib()))
            rows += measure_peers(Path(folder), port)
        rows += added_first_byte(rows)
    finally:
        load.end(upstream)
    load.show(rows, given.json)


if __name__ == "__main__":
    main()
