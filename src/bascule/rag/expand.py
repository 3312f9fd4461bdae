"""Passages with what stands around them: neighbours in the same section, while the prompt's budget has room.

A question often finds the sentence and misses the condition after it. What is added are passages of their own, each cited by
itself, read through the catalogue for the principal who asks: of the document's present version, and only while it is readable.
"""

from __future__ import annotations

from collections.abc import Callable

from bascule.core.catalogue import Passages
from bascule.core.documents import VisibleChunk
from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.rag.prompt import Packed, cost


async def expand(
    passages: Passages,
    principal: Principal,
    packed: Packed,
    *,
    around: int,
    budget_tokens: int,
    keep: Callable[[VisibleChunk], bool] = lambda _: True,
) -> Packed:
    """Up to `around` passages before and after each chosen one that `keep` lets in, best first, in reading order; the chosen all
    stay."""
    if around < 1:
        return packed
    groups: list[list[VisibleChunk]] = [[chunk] for chunk in packed.chosen]
    taken = {chunk.id for chunk in packed.chosen}
    tokens = packed.tokens
    for group in groups:
        for chunk in await _section(passages, principal, group[0], around):
            price = cost(chunk)
            if chunk.id not in taken and keep(chunk) and tokens + price <= budget_tokens:
                taken.add(chunk.id)
                tokens += price
                group.append(chunk)
        group.sort(key=lambda chunk: chunk.ordinal)
    chosen = tuple(chunk for group in groups for chunk in group)
    return Packed(chosen, tuple(chunk for chunk in packed.left_out if chunk.id not in taken), tokens)


async def _section(passages: Passages, principal: Principal, middle: VisibleChunk, around: int) -> list[VisibleChunk]:
    """Those around it under the same heading and of the same version, nearest first."""
    try:
        found = await passages.neighbours(principal, middle.id, around, around)
    except NotFound:  # gone since it was found: the check before the answer leaves is for it too
        return []
    same = [c for c in found if (c.version, c.heading_path) == (middle.version, middle.heading_path)]
    return sorted(same, key=lambda chunk: abs(chunk.ordinal - middle.ordinal))
