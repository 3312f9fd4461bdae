"""The parts of a presentation and how they hang together (ECMA-376 part 1, 13 and 19)."""

from __future__ import annotations

import posixpath
import zipfile
from typing import Any, Final

from bascule.plugins.parsers._archives import resolve
from bascule.plugins.parsers._xml import name as name_of
from bascule.plugins.parsers._xml import tree

_MAIN: Final = "ppt/presentation.xml"
_LIGHT: Final = frozenset(["bg1", "lt1"])


class Deck:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._main = self.root(_MAIN)
        size = next((e for e in self._main if name_of(e) == "sldSz"), None)
        self.size = (int(size.get("cx")), int(size.get("cy"))) if size is not None else None

    def root(self, part: str) -> Any:
        return tree(self._archive.read(part), "presentation")

    def slides(self) -> list[str]:
        """The parts of the slides, in the order they are shown."""
        relations = self._relations(_MAIN)
        ids = [e for group in self._main if name_of(group) == "sldIdLst" for e in group]
        wanted = [next((v for k, v in e.attrib.items() if k.endswith("}id")), "") for e in ids]
        return [relations[found][1] for found in wanted if found in relations and relations[found][1] in self._names]

    def notes(self, slide: str) -> Any | None:
        return self._related(slide, "notesSlide")

    def title(self) -> str:
        if "docProps/core.xml" not in self._names:
            return ""
        root = self.root("docProps/core.xml")
        title = next((" ".join((e.text or "").split()) for e in root if name_of(e) == "title"), "")
        return "" if title.lower() in ("powerpoint presentation", "presentation") else title

    def has_ground(self, slide: str, root: Any) -> bool:
        """Does slide, layout or master paint something other than the light colour of the theme behind the text?"""
        part, found = slide, root
        for kind in ("", "slideLayout", "slideMaster"):
            if kind:
                part = self._target(part, kind)
                if not part:
                    return False
                found = self.root(part)
            ground = next((e for e in found.iter() if name_of(e) == "bg"), None)
            if ground is not None:
                return not _is_light(ground)
        return False

    def _related(self, part: str, kind: str) -> Any | None:
        target = self._target(part, kind)
        return self.root(target) if target else None

    def _target(self, part: str, kind: str) -> str:
        found = (target for of, target in self._relations(part).values() if of == kind and target in self._names)
        return next(found, "")

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Relation id -> (its kind, the part it means)."""
        name = f"{posixpath.dirname(part)}/_rels/{posixpath.basename(part)}.rels"
        if name not in self._names:
            return {}
        return {
            e.get("Id") or "": ((e.get("Type") or "").rpartition("/")[2], resolve(part, e.get("Target") or ""))
            for e in self.root(name)
            if e.get("TargetMode") != "External"
        }


def _is_light(ground: Any) -> bool:
    colours = [e for e in ground.iter() if name_of(e) in ("schemeClr", "srgbClr", "blip", "sysClr")]
    if len(colours) != 1:
        return False
    value = (colours[0].get("val") or "").lower()
    return value in _LIGHT or value in ("ffffff", "window")
