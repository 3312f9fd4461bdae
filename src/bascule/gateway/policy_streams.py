"""An answer that streams, under policies: judged in windows or as a whole, and rewritten piece by piece.

Rewriting holds back only what may still become something to rewrite (half a placeholder, half a key). Judging holds events
back until the policy has seen their texts. What was not judged is never shown: a stream that is cut loses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from bascule.core.chat import ChatChunk
from bascule.core.policies import Policy, TextFilter
from bascule.gateway.texts import Event, Slot, leaves, piece

OpenFilter = Callable[[], TextFilter]
_SENTENCE_ENDS: Final = (".", "!", "?", "\n", "。", "！", "？")


async def rewritten(
    wire: str,
    chunks: AsyncIterator[ChatChunk],
    filters: Sequence[Callable[[bool], OpenFilter]],
    note: Callable[[], None],
) -> AsyncIterator[ChatChunk]:
    """Every text through all filters. Each is asked for with whether the text is JSON itself. `note` is called at the end,
    before it is seen."""
    rewriter = _Rewriter(filters)
    try:
        async for chunk in chunks:
            shown = rewriter.feed(Event(wire, chunk))
            if chunk.last:
                note()
            for ready in shown:
                yield ready
    finally:
        note()
        await _close(chunks)


class _Channel:
    """One text under way: its filters, and where its last piece stood."""

    __slots__ = ("event", "filters", "slot")

    def __init__(self, filters: list[TextFilter]) -> None:
        self.filters = filters
        self.slot: Slot | None = None
        self.event = ""

    def feed(self, text: str) -> str:
        for one in self.filters:
            text = one.feed(text)
        return text

    def end(self) -> str:
        rest = ""
        for one in self.filters:
            rest = one.feed(rest) + one.end()
        return rest


class _Rewriter:
    def __init__(self, filters: Sequence[Callable[[bool], OpenFilter]]) -> None:
        self._filters = filters
        self._channels: dict[tuple[object, ...], _Channel] = {}
        self._added = 0

    def feed(self, event: Event) -> list[ChatChunk]:
        """The events to show now: this one, and before it what was held back of texts that end here."""
        here = {slot.channel for slot in event.slots}
        shown = []
        if event.ends:
            shown = self._flush([name for name in self._channels if name not in here])
        for slot in event.slots:
            channel = self._channel(slot)
            text = channel.feed(slot.text)
            if event.ends:
                text += channel.end()
                del self._channels[slot.channel]
            channel.slot, channel.event = slot, event.chunk.event
            event.write(slot, text)
        if not event.slots:
            event.rewrite(self._whole)
        if self._added and isinstance(event.view, dict) and isinstance(event.view.get("sequence_number"), int):
            event.view["sequence_number"] += self._added
            event.dirty = True
        return [*shown, event.to_chunk()]

    def _flush(self, names: list[tuple[object, ...]]) -> list[ChatChunk]:
        shown = []
        for name in names:
            channel = self._channels.pop(name)
            rest = channel.end()
            if rest and channel.slot is not None:
                shown.append(self._extra(channel.slot, channel.event, rest))
        return shown

    def _extra(self, slot: Slot, event: str, rest: str) -> ChatChunk:
        """One event more than came: those after it in a numbered stream count on."""
        if "sequence_number" in slot.holder:
            self._added += 1
            slot.holder["sequence_number"] += 1
        return piece(slot, event, rest)

    def _channel(self, slot: Slot) -> _Channel:
        channel = self._channels.get(slot.channel)
        if channel is None:
            channel = self._channels[slot.channel] = _Channel(self._opened(slot.is_json))
        return channel

    def _opened(self, is_json: bool) -> list[TextFilter]:
        return [open_for(is_json)() for open_for in self._filters]

    def _whole(self, text: str, is_json: bool) -> str:
        channel = _Channel(self._opened(is_json))
        return channel.feed(text) + channel.end()


async def judged(
    wire: str,
    chunks: AsyncIterator[ChatChunk],
    policy: Policy,
    judge: Callable[[list[str]], Awaitable[list[str]]],
) -> AsyncIterator[ChatChunk]:
    """Events held back until `judge` has seen their texts; it gives back the texts to show, or raises."""
    window = _Window()
    try:
        async for chunk in chunks:
            window.add(Event(wire, chunk))
            if chunk.last or (policy.streams == "window" and window.full(policy.window_chars)):
                for ready in await window.judged(judge):
                    yield ready
    finally:
        await _close(chunks)


class _Window:
    """Events not shown yet. The pieces of one text are judged as one."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._chars = 0
        self._last = ""

    def add(self, event: Event) -> None:
        self._events.append(event)
        for slot in event.slots:
            self._chars += len(slot.text)
            self._last = slot.text or self._last

    def full(self, chars: int) -> bool:
        """At the end of a sentence beyond `chars`, and at twice as many in any case. An event that ends a text ends a window."""
        if self._chars >= 2 * chars or self._events[-1].ends:
            return True
        return self._chars >= chars and self._last.rstrip(" \"')").endswith(_SENTENCE_ENDS)

    async def judged(self, judge: Callable[[list[str]], Awaitable[list[str]]]) -> list[ChatChunk]:
        events, self._events, self._chars, self._last = self._events, [], 0, ""
        texts: dict[tuple[object, ...], list[tuple[Event, Slot]]] = {}
        for event in events:
            for slot in event.slots:
                texts.setdefault(slot.channel, []).append((event, slot))
        wholes = [event for event in events if not event.slots]
        asked = ["".join(slot.text for _, slot in pieces) for pieces in texts.values()]
        told = iter(await judge(asked + [text for event in wholes for text in leaves(event.view)]))
        for pieces, before in zip(texts.values(), asked, strict=True):
            after = next(told)
            if after != before:  # where its pieces lie in the new text nobody knows: the first carries it
                for place, (event, slot) in enumerate(pieces):
                    event.write(slot, after if place == 0 else "")
        for event in wholes:
            event.rewrite(lambda _text, _is_json: next(told))
        return [event.to_chunk() for event in events]


async def _close(chunks: AsyncIterator[ChatChunk]) -> None:
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()
