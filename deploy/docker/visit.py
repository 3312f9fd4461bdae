"""Run inside the started container by `try`: a new user's first calls, the key on standard input. Standard library only."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

BASE = "http://127.0.0.1:8400"
TEXT = (
    "Returns. Goods may be sent back within 30 days of delivery. The refund is paid within 14 days to the card that was used. "
    "Opening hours. The shop is open from Monday to Friday, nine to six."
)


def call(path: str, key: str | None, body: Any = None) -> tuple[int, Any]:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(BASE + path, headers=headers, data=json.dumps(body).encode() if body else None)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def main() -> None:
    key = sys.stdin.readline().strip()
    assert call("/v1/models", None)[0] == 401, "a call without a key was not refused"
    status, models = call("/v1/models", key)
    print("models:", status, [model["id"] for model in models["data"]])
    document = {"external_id": "shop", "title": "Shop rules", "text": TEXT, "allow": ["public"]}
    status, job = call("/v1/documents", key, {"collection": "shop", "documents": [document]})
    assert status == 202, (status, job)
    start = time.monotonic()
    while job.get("state") not in ("done", "failed", "partial") and time.monotonic() - start < 60:
        time.sleep(0.1)
        _, job = call(f"/v1/jobs/{job['id']}", key)
    print("job:", job.get("state"), f"after {time.monotonic() - start:.1f} s")
    status, answer = call("/v1/answers", key, {"question": "When is my refund paid?", "collections": ["shop"]})
    print("answer:", status, answer.get("status"), repr(answer.get("answer")))
    assert "14 days" in answer["answer"] and answer["citations"], answer
    print("cited:", answer["citations"][0]["title"], "| degraded:", answer.get("degraded", []))


if __name__ == "__main__":
    main()
