"""The provider contract, kept by the providers of OpenAI's and Anthropic's formats. The others have it in their own files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bascule.core.chat import ChatModel
from bascule.core.http import HttpClient
from bascule.plugins.providers import anthropic, openai
from bascule.plugins.providers.echo import EchoProvider
from bascule.testing.gateway import call, collect, said
from bascule.testing.provider_contract import ProviderContract, asked
from bascule.testing.vendor_words import AnthropicVendor, OpenaiVendor
from bascule.testing.vendors import SECRET, Vendor, serving


class TestOpenai(ProviderContract):
    responses = False

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[Vendor]:
        vendor = OpenaiVendor()
        async with serving(vendor):
            yield vendor

    @pytest.fixture
    def provider(self, vendor: Vendor, http: HttpClient) -> ChatModel:
        settings = openai.Settings(base_url=vendor.url + "/v1", responses=self.responses)
        return openai.OpenaiProvider(settings, http, SECRET)


class TestOpenaiWithResponses(TestOpenai):
    responses = True


class TestAnthropic(ProviderContract):
    @pytest.fixture
    async def vendor(self) -> AsyncIterator[Vendor]:
        vendor = AnthropicVendor()
        async with serving(vendor):
            yield vendor

    @pytest.fixture
    def provider(self, vendor: Vendor, http: HttpClient) -> ChatModel:
        return anthropic.AnthropicProvider(anthropic.Settings(base_url=vendor.url + "/v1"), http, SECRET)


async def test_echo_answers_whole_and_in_pieces_alike() -> None:
    provider = EchoProvider()
    whole = await provider.chat(asked("Grüezi 漢🙂 du", new_knob=1), call())
    chunks = await collect(await provider.stream(asked("Grüezi 漢🙂 du", stream=True), call()))
    assert whole.text == said(chunks) == "user: Grüezi 漢🙂 du"
    assert (whole.complete, len(chunks) > 3, chunks[-1].last) == (True, True, True)
