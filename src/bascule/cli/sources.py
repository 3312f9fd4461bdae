"""What `ingest` reads: files and folders named on the command line, each file with its rights from a map where one is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from bascule.cli.rights_file import RightsMap, read_rights
from bascule.core.connectors import Connector, SkippedItem, SourceItem
from bascule.core.rights import Rights


class Sources:
    """`base`: the rights of --allow and --deny, for files that no pattern of the map matches; its deny holds for all."""

    def __init__(
        self, connector: Connector, paths: Sequence[Path], rights: RightsMap | None, base: Rights | None
    ) -> None:
        self._connector = connector
        self._paths = paths
        self._map = rights
        self._base = base
        self._read: list[Path] = []

    async def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        async for item in self._connector.items():
            yield item if isinstance(item, SkippedItem) or self._map is None else self._with_rights(item, self._map)

    def _with_rights(self, item: SourceItem, rights_map: RightsMap) -> SourceItem | SkippedItem:
        path = self._path_of(item)
        if path is None:
            return item
        if path.resolve() == rights_map.path:
            return SkippedItem(external_id=item.external_id, reason="this is the rights map itself")
        self._read.append(path)
        rights = rights_map.of(path)
        if rights is None:
            return item
        shut = rights.deny | (self._base.deny if self._base else frozenset())
        return msgspec.structs.replace(item, rights=msgspec.structs.replace(rights, deny=shut))

    def _path_of(self, item: SourceItem) -> Path | None:
        """The file behind an item; None for a name that is no text, which then has no rights but the base's."""
        for root in self._paths:
            path = root if root.is_file() and root.name == item.external_id else root / item.external_id
            if path.is_file():
                return path
        return None

    def unused(self) -> list[str]:
        """Patterns of the map that matched no file."""
        return self._map.unused(self._read) if self._map else []


def read_sources(paths: Sequence[Path], rights: Path | None, base: Rights | None) -> Sources:
    """Raises ConfigError for a rights map that is not valid; the files are read later, one by one."""
    from bascule.bootstrap import plugin

    connector: Connector = plugin("connectors", "folder").FolderConnector(paths)
    return Sources(connector, paths, read_rights(rights) if rights else None, base)
