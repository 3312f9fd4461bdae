import ipaddress
from urllib.parse import urlsplit

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from bascule.core.errors import IngestError
from bascule.core.urls import join_url, parse_url


@pytest.mark.parametrize(
    ("text", "is_now"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.COM:443/A", "https://example.com/A"),
        ("http://example.com.:8080/a?b=c&d#e", "http://example.com:8080/a?b=c&d"),
        ("https://example.com/a/./b/../c", "https://example.com/a/c"),
        ("https://example.com/%68r/%2f?q=%C3%bc", "https://example.com/hr/%2F?q=%C3%BC"),
        ("https://example.com/Größe?q=ü", "https://example.com/Gr%C3%B6%C3%9Fe?q=%C3%BC"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://example.com/@user/a|b", "https://example.com/@user/a%7Cb"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://Faß.example/", "https://xn--fa-hia.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://10.example.com/", "https://10.example.com/"),
        ("https://169-254-169-254.example.com/", "https://169-254-169-254.example.com/"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("http://[2606:4700::0001]:80/", "http://[2606:4700::1]/"),
        ("https://example.com/?next=http://10.0.0.1/@x", "https://example.com/?next=http://10.0.0.1/@x"),
    ],
)
def test_a_good_url_has_one_spelling(text, is_now):
    assert str(parse_url(text)) == is_now
    assert str(parse_url(is_now)) == is_now


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com", "//example.com/", "http:/example.com/", "http:example.com", "file:///etc/passwd", "gopher://example.com/",
        "data:text/html,x", "ftp://example.com/", "http://", "http:///x", "http://user@example.com/", "http://@example.com/",
        "http://user:pw@example.com/", "http://example.com\\@10.0.0.1/", "http://example.com/a b", " http://example.com/",
        "http://example.com/\t", "http://exa\nmple.com/", "http://example.com/\u200b", "http://example.com/\u202e", "http://ex%61mple.com/",
        "http://example.com:/", "http://example.com:0/", "http://example.com:080/", "http://example.com:65536/", "http://example.com:+80/",
        "http://example.com:８０/", "http://127.1/", "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://2130706433/", "http://1.2.3.4.5/",
        "http://1.2.3.04/", "http://127.0.0.1./", "http://a.0x/", "http://[::1", "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/",
        "http://[::1]:/", "http://[1.2.3.4]/", "http://①②⑦.⓪.⓪.①/", "http://ｌocalhost/", "http://exa\u00admple.com/", "http://example。com/",
        "http://a..example.com/", "http://-a.example.com/", "http://example.com../", "http://xn--a.example/", "http://xn--K.example/",
        "http://ex\u212aample.com/", "http://a b.com/",
        "http://" + "a." * 130 + "com/", "http://" + "a" * 64 + ".com/", "http://example.com/" + "a" * 9000,
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(text):
    with pytest.raises(IngestError) as caught:
        parse_url(text)
    assert caught.value.reason == "address_refused"


@pytest.mark.parametrize(
    ("reference", "is_now"),
    [
        ("b", "https://example.com/dir/b"),
        ("../b?x=1#y", "https://example.com/b?x=1"),
        ("//other.example/c", "https://other.example/c"),
        ("?q=2", "https://example.com/dir/a?q=2"),
        ("http://other.example", "http://other.example/"),
    ],
)
def test_links_are_read_from_their_page(reference, is_now):
    assert str(join_url(parse_url("https://example.com/dir/a"), reference)) == is_now


@pytest.mark.parametrize(
    "reference", ["javascript:alert(1)", "mailto:a@b.example", "\t//10.0.0.1", "/\\10.0.0.1", "http://[x/"]
)
def test_links_that_are_no_pages_are_refused(reference):
    with pytest.raises(IngestError):
        join_url(parse_url("https://example.com/"), reference)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["dec", "hex", "oct", "dothex", "dotoct", "two", "three", "pad"]))
def test_an_ipv4_address_is_read_in_its_plain_form_only(number, form):
    address = ipaddress.IPv4Address(number)
    a, b, c, d = address.packed
    spelled = {
        "dec": str(number), "hex": hex(number), "oct": f"0{number:o}", "dothex": f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        "dotoct": f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", "two": f"{a}.{number & 0xFFFFFF}", "three": f"{a}.{b}.{number & 0xFFFF}",
        "pad": f"00{a}.00{b}.00{c}.00{d}",
    }[form]  # fmt: skip
    assert parse_url(f"http://{address}/").address == str(address)
    with pytest.raises(IngestError):
        parse_url(f"http://{spelled}/")


@given(st.text(max_size=40))
def test_any_text_is_either_refused_or_becomes_a_stable_plain_url(text):
    for candidate in (text, f"http://{text}", f"https://example.com/{text}"):
        try:
            url = parse_url(candidate)
        except IngestError:
            continue
        assert str(url).isascii() and str(url).isprintable() and " " not in str(url)
        assert parse_url(str(url)) == url
        assert urlsplit(str(url)).hostname == yarl.URL(str(url)).raw_host == url.host, (
            "other parsers read the same host"
        )
