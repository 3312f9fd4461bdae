"""What Bascule is made of, as CycloneDX 1.6 JSON: from the lock, and from what is installed where that is given.

    python deploy/sbom.py requirements-run.lock [SITE_PACKAGES] > sbom.cdx.json

With SITE_PACKAGES only what is installed there is listed, with its licence. The same input gives the same bytes. Standard
library only: it runs in the image's build stage.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def main(lock: Path, site: Path | None) -> None:
    json.dump(bom(lock.read_text(encoding="utf-8"), site), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


def bom(lock: str, site: Path | None = None) -> dict[str, Any]:
    installed = _installed(site) if site is not None else {}
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = [row for row in locked_packages(lock) if site is None or row[0] in installed]
    components = [_component(name, version, hashes, installed.get(name)) for name, version, hashes in locked]
    names = {name: component["bom-ref"] for (name, _, _), component in zip(locked, components, strict=True)}
    root = f"pkg:pypi/{own['name']}@{own['version']}"
    graph = [{"ref": root, "dependsOn": sorted(names.values())}]
    graph += [{"ref": names[name], "dependsOn": _needs(installed.get(name), names)} for name in names]
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": own["name"],
                "version": own["version"],
                "purl": root,
                "licenses": [{"expression": own["license"]}],
            }
        },
        "components": components,
        "dependencies": graph,
    }
    content = json.dumps(body, sort_keys=True)
    return body | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def locked_packages(lock: str) -> Iterator[tuple[str, str, list[str]]]:
    """(name, version, hashes of its distribution files) of each line of a lock."""
    for block in re.split(r"\n(?=[A-Za-z0-9])", "\n" + lock):
        found = LINE.match(block.strip())
        if found:
            yield normal(found["name"]), found["version"], sorted(HASH.findall(block))


def _component(name: str, version: str, hashes: list[str], given: Any) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    made: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    # Of the files that may be installed one is: CycloneDX has a place for the hash of one file only.
    made["properties"] = [{"name": "bascule:lock:sha256", "value": each} for each in hashes]
    if given is not None:
        licence = licence_of(given.metadata)
        if licence:
            made["licenses"] = [{"license": {"name": licence}}]
    return made


def licence_of(metadata: Any) -> str:
    """What a distribution's metadata says: its expression, or its classifiers, or the first line of its free text."""
    if metadata.get("License-Expression"):
        return str(metadata["License-Expression"])
    classifiers = [text for text in metadata.get_all("Classifier") or () if text.startswith("License ::")]
    named = [text.rpartition("::")[2].strip() for text in classifiers]
    named = [name for name in named if name not in ("OSI Approved", "DFSG approved")]
    return " AND ".join(named) or str(metadata.get("License") or "").strip().split("\n")[0][:100]


def _installed(site: Path) -> dict[str, importlib.metadata.Distribution]:
    found = importlib.metadata.distributions(path=[str(site)])
    return {normal(each.metadata["Name"]): each for each in found}


def _needs(given: importlib.metadata.Distribution | None, names: dict[str, str]) -> list[str]:
    wanted = [] if given is None else given.requires or []
    found = {normal(re.split(r"[\s;\[<>=!~(]", text, maxsplit=1)[0]) for text in wanted if "extra ==" not in text}
    return sorted(names[name] for name in found if name in names)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
