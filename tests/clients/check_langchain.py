"""LangChain's own clients against a running Bascule (BASCULE_URL, BASCULE_KEY); what came out is printed as JSON.

Run by tests/e2e/test_framework_clients.py with the interpreter of an environment of its own.
"""

import json
import os

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

URL, KEY = os.environ["BASCULE_URL"], os.environ["BASCULE_KEY"]
CLIENT = {"base_url": URL + "/v1", "api_key": KEY, "max_retries": 0}


class City(BaseModel):
    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def text_of(message: object) -> str:
    text = message.text
    return text() if callable(text) else str(text)


def called(model: ChatOpenAI | ChatAnthropic) -> dict:
    """A tool is asked for, run, and its result told."""
    bound = model.bind_tools([weather])
    asked = bound.invoke("Weather in Bern?")
    (call,) = asked.tool_calls
    result = weather.invoke(call["args"])
    told = [HumanMessage("Weather in Bern?"), asked, ToolMessage(result, tool_call_id=call["id"])]
    return {"name": call["name"], "args": call["args"], "after": text_of(bound.invoke(told))}


def main() -> None:
    chat = ChatOpenAI(model="fast", **CLIENT)
    responses = ChatOpenAI(model="fast", use_responses_api=True, **CLIENT)
    claude = ChatAnthropic(model="fast", base_url=URL, api_key=KEY, max_retries=0, max_tokens=100)
    embeddings = OpenAIEmbeddings(model="vectors", check_embedding_ctx_length=False, **CLIENT)
    found = {
        "invoke": chat.invoke("Hello").content,
        "usage": chat.invoke("Hello").usage_metadata["total_tokens"],
        "stream": [chunk.content for chunk in chat.stream("Stream")],
        "tools": called(chat),
        "structured": chat.with_structured_output(City).invoke("Bern?").model_dump(),
        "responses": text_of(responses.invoke("Respond")),
        "responses_stream": "".join(text_of(chunk) for chunk in responses.stream("Respond in pieces")),
        "responses_tools": called(responses),
        "claude": text_of(claude.invoke("Hello Claude")),
        "claude_stream": "".join(text_of(chunk) for chunk in claude.stream("Stream, Claude")),
        "claude_tools": called(claude),
        "embedded": [len(vector) for vector in embeddings.embed_documents(["one", "two"])],
        "query": embeddings.embed_query("one"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
