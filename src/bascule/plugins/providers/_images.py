"""Images named by URL, for vendors that take them only inside the request: got through the guarded fetcher (law 9) and put in.

The caller's body stays as it came, so the cache's key does too: an image that changes behind its URL is a HIT until the answer's
lifetime ends, as it is with vendors that fetch images themselves.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, Field

from bascule.core.calls import Call
from bascule.core.errors import ConfigError, IngestError, InvalidRequest, TooLarge
from bascule.core.fetching import Fetcher
from bascule.core.resources import Resources

FETCHED_AT_ONCE: Final = 16  # over all calls of one provider
# What sites call images that they have no better name for; what an image is, its first bytes say.
_TYPES: Final = ("image/*", "application/octet-stream", "binary/octet-stream")
_MAGIC: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_HEIC: Final = frozenset({b"heic", b"heix", b"mif1", b"msf1"})


class ImageSettings(BaseModel):
    """What a provider's own settings say about images by URL."""

    image_urls: bool = Field(
        False,
        description="Get images that a request names by URL, through [fetcher] and from public addresses only, and send them "
        "inside the request; otherwise such a request is refused.",
    )
    max_images: int = Field(8, gt=0, le=100, description="Different images by URL in one request.")
    max_image_bytes: int = Field(5_000_000, gt=0, le=50_000_000, description="Largest image got by URL.")
    image_timeout_s: float = Field(5.0, gt=0, description="For all images of a request, within the call's deadline.")


class Images:
    def __init__(self, settings: ImageSettings, fetcher: Fetcher, kinds: Collection[str]) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._kinds = kinds
        self._turns = asyncio.Semaphore(FETCHED_AT_ONCE)

    async def inlined(self, view: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        """The request with data URLs in place of web URLs; the same object when it has none.

        Raises InvalidRequest when an image cannot be had, TooLarge for too many or too large ones.
        """
        wanted = list(dict.fromkeys(url for part in _parts(view) if (url := _web_url(part))))
        if not wanted:
            return view
        if len(wanted) > self._settings.max_images:
            raise TooLarge(f"At most {self._settings.max_images} images by URL.", param="messages")
        found = await self._all(wanted, call)
        return {**view, "messages": [_with_images(message, found) for message in view["messages"]]}

    async def _all(self, urls: list[str], call: Call) -> dict[str, str]:
        tasks: list[asyncio.Task[str]] = []
        try:
            # A slow site is the caller's choice, no fault of the deployment: so it is no UpstreamTimeout.
            async with asyncio.timeout(min(self._settings.image_timeout_s, call.deadline.check())):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._one(url)) for url in urls]
        except TimeoutError:
            raise InvalidRequest("The images of the request did not come in time.", param="messages") from None
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return dict(zip(urls, (task.result() for task in tasks), strict=True))

    async def _one(self, url: str) -> str:
        limit = self._settings.max_image_bytes
        try:
            async with self._turns:
                got = await self._fetcher.fetch(url, limit_bytes=limit, headers={"accept": "image/*"}, types=_TYPES)
        except IngestError as error:
            if error.reason == "too_large":
                raise TooLarge(f"An image by URL may have at most {limit} bytes.", param="messages") from None
            raise InvalidRequest(f"An image of the request cannot be had: {error.message}", param="messages") from None
        if got.status != 200:
            message = f"An image of the request cannot be had: its site answered {got.status}."
            raise InvalidRequest(message, param="messages")
        kind = _kind(got.body)
        if kind not in self._kinds:
            said = f"is {kind}, which this model's provider does not take" if kind else "is no image"
            raise InvalidRequest(f"What an image's URL leads to {said}.", param="messages")
        return f"data:{kind};base64,{base64.b64encode(got.body).decode()}"


def images_of(settings: ImageSettings, resources: Resources, kinds: Collection[str]) -> Images | None:
    """None where the operator has not switched it on."""
    if not settings.image_urls:
        return None
    if resources.fetcher is None:
        raise ConfigError("image_urls needs a fetcher.")
    return Images(settings, resources.fetcher, kinds)


def _parts(view: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    messages = view.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict) and part.get("type") == "image_url")


def _web_url(part: dict[str, Any]) -> str:
    """ "" for a data URL, and for what is no URL at all: the translation says what is wrong with it."""
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    return url if isinstance(url, str) and url and not url.startswith("data:") else ""


def _with_images(message: Any, found: Mapping[str, str]) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    return {**message, "content": [_put(part, found) for part in content]} if isinstance(content, list) else message


def _put(part: Any, found: Mapping[str, str]) -> Any:
    url = _web_url(part) if isinstance(part, dict) and part.get("type") == "image_url" else ""
    return {**part, "image_url": {"url": found[url]}} if url else part


def _kind(body: bytes) -> str:
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    if body[4:8] == b"ftyp" and body[8:12] in _HEIC:
        return "image/heic"
    return next((kind for magic, kind in _MAGIC if body.startswith(magic)), "")
