"""Azure OpenAI over real HTTP: the provider contract in both address styles and with Entra ID, and what is Azure's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from bascule.core.chat import ChatModel
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import UpstreamRateLimited, UpstreamRejected, UpstreamUnavailable
from bascule.core.http import HttpClient
from bascule.plugins.providers import azure_openai, openai
from bascule.testing.gateway import call, collect, http_client, resources, said
from bascule.testing.provider_contract import ProviderContract, asked
from bascule.testing.vendor_words import OpenaiVendor, sse
from bascule.testing.vendors import SECRET, Vendor, serving

ENTRA = {"tenant_id": "t-1", "client_id": "c-1", "client_secret": "env:S"}
FILTERED = {
    "error": {"message": "The response was filtered.", "type": None, "param": "prompt", "code": "content_filter", "status": 400,
              "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}}
}  # fmt: skip


class AzureVendor(OpenaiVendor):
    """Each stream begins with the annotations of the prompt, as Azure's do."""

    def events(self, pieces: Any, usage: tuple[int, int]) -> list[bytes]:
        return [
            sse({"choices": [], "id": "", "object": "", "prompt_filter_results": []}),
            *super().events(pieces, usage),
        ]


class TestAzure(ProviderContract):
    settings: ClassVar[dict[str, Any]] = {"api_key": "env:KEY"}

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[Vendor]:
        vendor = AzureVendor()
        async with serving(vendor):
            yield vendor

    @pytest.fixture
    async def provider(self, vendor: Vendor, http: HttpClient) -> AsyncIterator[ChatModel]:
        settings = azure_openai.Settings(base_url=vendor.url, **self.settings)
        async with azure_openai.connect(settings, resources(http)) as provider:
            yield provider


class TestAzureByDeployment(TestAzure):
    settings: ClassVar[dict[str, Any]] = {"api_key": "env:KEY", "api_version": "2024-10-21"}


@pytest.fixture
async def azure() -> AsyncIterator[tuple[AzureVendor, HttpClient]]:
    vendor = AzureVendor()
    async with serving(vendor), http_client() as http:
        yield vendor, http


async def test_addresses_are_those_of_the_chosen_style(azure: Any) -> None:
    vendor, http = azure
    vendor.answers("ok")
    for base, version in ((vendor.url, None), (vendor.url + "/openai/v1/", None), (vendor.url, "2024-10-21")):
        settings = azure_openai.Settings(base_url=base, api_key="env:KEY", api_version=version)
        await azure_openai.AzureProvider(settings, http, SECRET).chat(asked(), call())
    dated = "/openai/deployments/vendor-model/chat/completions?api-version=2024-10-21"
    assert [c.path for c in vendor.calls] == ["/openai/v1/chat/completions"] * 2 + [dated]
    assert [c.headers["api-key"] for c in vendor.calls] == [SECRET] * 3


async def test_embeddings_go_to_their_deployment(azure: Any) -> None:
    vendor, http = azure
    vendor.says(b'{"data":[{"index":0,"embedding":[3,4]}]}')
    settings = azure_openai.Settings(base_url=vendor.url, api_key="env:KEY", api_version="2024-10-21")
    found = await azure_openai.AzureProvider(settings, http, SECRET).embed(
        EmbeddingRequest(model="e", texts=("a",)), call()
    )
    assert (found.dimension, found.fingerprint.partition(":")[0]) == (2, "azure_openai")
    assert vendor.calls[0].path == "/openai/deployments/e/embeddings?api-version=2024-10-21"


async def test_a_filtered_prompt_is_refused_in_azures_words_and_a_filtered_answer_is_not_good(azure: Any) -> None:
    vendor, http = azure
    provider = azure_openai.AzureProvider(azure_openai.Settings(base_url=vendor.url, api_key="env:KEY"), http, SECRET)
    vendor.refuses(400)
    vendor.reply.pieces = [json.dumps(FILTERED).encode()]
    with pytest.raises(UpstreamRejected) as caught:
        await provider.chat(asked(), call())
    assert (json.loads(caught.value.body), caught.value.retryable) == (FILTERED, False)
    vendor.says(vendor.answer("Once", (1, 1)).replace(b'"stop"', b'"content_filter"'))
    found = await provider.chat(asked(), call())
    assert (found.finish, found.complete) == ("content_filter", False)


async def test_a_streams_annotations_are_passed_on(azure: Any) -> None:
    vendor, http = azure
    provider = azure_openai.AzureProvider(azure_openai.Settings(base_url=vendor.url, api_key="env:KEY"), http, SECRET)
    vendor.streams("a", "b")
    late = {
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "content_filter_results": {},
                "content_filter_offsets": {"start_offset": 1},
            }
        ]
    }
    vendor.reply.pieces = [*vendor.reply.pieces[:-2], sse(late), *vendor.reply.pieces[-2:]]
    chunks = await collect(await provider.stream(asked(stream=True), call()))
    assert (said(chunks), b"prompt_filter_results" in chunks[0].data) == ("ab", True)
    assert any(b"content_filter_offsets" in c.data for c in chunks)


async def test_a_wait_in_milliseconds_is_understood(azure: Any) -> None:
    vendor, http = azure
    provider = azure_openai.AzureProvider(azure_openai.Settings(base_url=vendor.url, api_key="env:KEY"), http, SECRET)
    vendor.refuses(429, headers={"retry-after-ms": "1500"})
    with pytest.raises(UpstreamRateLimited) as caught:
        await provider.chat(asked(), call())
    assert caught.value.retry_after_s == 1.5


async def test_a_token_is_had_once_and_sent_and_had_again_when_it_ends(azure: Any) -> None:
    vendor, http = azure
    authority = AzureVendor()
    async with serving(authority):
        settings = azure_openai.Settings(base_url=vendor.url, authority=authority.url, **ENTRA)
        provider = azure_openai.EntraProvider(settings, http, SECRET)
        vendor.answers("ok")
        for lasts, times in ((3600, 2), (0, 1)):
            authority.says(
                json.dumps({"token_type": "Bearer", "expires_in": lasts, "access_token": f"tok-{lasts}"}).encode()
            )
            for _ in range(times):
                await provider.chat(asked(), call())
            provider._renew_at_s = 0.0
    assert [c.headers["authorization"] for c in vendor.calls] == ["Bearer tok-3600"] * 2 + ["Bearer tok-0"]
    assert [c.path for c in authority.calls] == ["/t-1/oauth2/v2.0/token"] * 2
    form = b"client_id=c-1&client_secret=sk-upstream-secret&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
    assert authority.calls[0].raw == form + b"&grant_type=client_credentials"
    assert "api-key" not in vendor.calls[0].headers


async def test_no_token_is_an_error_without_the_secret(azure: Any) -> None:
    vendor, http = azure
    vendor.refuses(401, f"bad {SECRET}")
    settings = azure_openai.Settings(base_url=vendor.url, authority=vendor.url, **ENTRA)
    with pytest.raises(UpstreamUnavailable) as caught:
        await azure_openai.EntraProvider(settings, http, SECRET).chat(asked(), call())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [{}, {"api_key": "env:K", "tenant_id": "t"}, {"tenant_id": "t", "client_id": "c"}, {"api_key": "env:K", **ENTRA},
     {"api_key": "env:K", "responses": True, "api_version": "2024-10-21"}],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        azure_openai.Settings(base_url="https://x", **given)


async def test_a_vendor_that_refuses_stream_options_is_sent_none_whoever_asked(azure: Any) -> None:
    vendor, http = azure
    provider = openai.OpenaiProvider(openai.Settings(base_url=vendor.url, stream_usage=False), http, "")
    vendor.streams("a")
    c = call()
    await collect(await provider.stream(asked(stream=True, stream_options={"include_usage": True}), c))
    assert "stream_options" not in json.loads(vendor.calls[0].raw)
    assert c.degraded == ["not_supported:stream_options"]


@pytest.mark.parametrize("wanted", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "sent", [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": 9, "max_completion_tokens": 5}, {}]
)
async def test_a_vendor_gets_the_length_under_the_name_it_knows(azure: Any, wanted: Any, sent: dict[str, int]) -> None:
    vendor, http = azure
    settings = openai.Settings(base_url=vendor.url, max_tokens_field=wanted)
    async with openai.connect(settings, resources(http)) as provider:
        vendor.answers("ok")
        await provider.chat(asked(**sent), call())
    body = json.loads(vendor.calls[0].raw)
    assert {k: v for k, v in body.items() if k.startswith("max_")} == ({wanted: 5} if sent else {})
    assert body["model"] == "vendor-model"
