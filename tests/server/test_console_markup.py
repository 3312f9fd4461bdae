"""Written answers in the console: Markdown by an allow-list."""

from __future__ import annotations

import msgspec
import pytest

from bascule.server.console.markup import rendered
from bascule.testing.server import CHUNK, an_answer

HOSTS = ("docs.example",)


def html(text: str, *hosts: str) -> str:
    return str(rendered(msgspec.structs.replace(an_answer(), answer=text, model="m"), hosts)).strip()


def test_what_a_model_writes_in_markdown_is_seen_as_it_meant_it():
    shown = html("# Returns\n\n- **30** days\n- `as new`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nx < y\n```")
    for part in ("<h4>Returns</h4>", "<strong>30</strong>", "<code>as new</code>", "<td>2</td>", "x &lt; y"):
        assert part in shown


def test_marks_are_buttons_in_text_and_stay_text_where_they_name_no_citation():
    shown = html("Yes. [1] No. [7]\n\n[1]: https://docs.example/a", *HOSTS)
    assert shown.count("<button") == 2 and f"/console/passage/{CHUNK}?start=0&amp;end=37" in shown
    assert "[7]" in shown
    assert "&lt;script&gt;" in shown and "<script" not in shown  # the citation's title


@pytest.mark.parametrize("text", ["[x](https://docs.example/a?b=c)", "<https://docs.example/a>"])
def test_a_link_goes_to_hosts_the_operator_named_and_tells_them_nothing(text):
    shown = html(text, *HOSTS)
    assert '<a href="https://docs.example/a' in shown
    assert 'rel="noopener noreferrer nofollow"' in shown
    assert "<a" not in html(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "http://docs.example/",
        "https://docs.example.evil.example/",
        "https://docs.example@evil.example/",
        "https://u:p@docs.example/",
        "https://docs.example:8443/",
        "https://docs.example\\@evil.example/",
        "//docs.example/",
        "javascript:alert(1)",
        "https://[::1]/",
        "https://docs.exampl\u0435/",
    ],
)
def test_no_other_address_becomes_a_link(url):
    assert "<a" not in html(f"[x]({url}) <{url}> ![x]({url})", *HOSTS)


@pytest.mark.parametrize(
    "text",
    ['<b onclick="a()">x</b>', "<img src=x>", "a <!-- b -->", "<p style='color:white'>x", "&lt;img src=x&gt;"],
)
def test_html_of_the_model_stays_text(text):
    assert "<b" not in html(text) and "<img" not in html(text) and "style=" not in strip(html(text))


def strip(shown: str) -> str:
    return shown.replace("&lt;p style=", "")
