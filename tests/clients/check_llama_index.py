"""LlamaIndex's own clients against a running Bascule (BASCULE_URL, BASCULE_KEY); what came out is printed as JSON.

Run by tests/e2e/test_framework_clients.py with the interpreter of an environment of its own.
"""

import json
import os

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

CLIENT = {"api_base": os.environ["BASCULE_URL"] + "/v1", "api_key": os.environ["BASCULE_KEY"], "max_retries": 0}


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def main() -> None:
    model = OpenAI(model="gpt-4o", **CLIENT)
    like = OpenAILike(model="fast", is_chat_model=True, is_function_calling_model=True, **CLIENT)
    embedder = OpenAIEmbedding(model_name="vectors", **CLIENT)
    asked = like.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="Weather in Bern?")
    (call,) = like.get_tool_calls_from_response(asked)
    found = {
        "tool": {"name": call.tool_name, "args": call.tool_kwargs},
        "chat": model.chat([ChatMessage(role="user", content="Hello")]).message.content,
        "stream": [piece.delta for piece in model.stream_chat([ChatMessage(role="user", content="Stream")])],
        "like": like.complete("Like").text,
        "like_stream": "".join(piece.delta or "" for piece in like.stream_complete("Like in pieces")),
        "embedded": [len(vector) for vector in embedder.get_text_embedding_batch(["one", "two"])],
        "query": embedder.get_query_embedding("one"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
