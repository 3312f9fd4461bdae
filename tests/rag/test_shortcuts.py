"""Shortcuts of preparing a document find all that the long way finds."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Metaspace

from bascule.core import recognise
from bascule.core.alike import VALUES
from bascule.core.parsing import Block
from bascule.core.recognise import KINDS, find, possible
from bascule.core.recognisers import KEY_HINTS, KEY_PREFIXES
from bascule.rag import clean, redact, tokens
from bascule.rag import language as languages
from bascule.rag.signature import SHINGLE_WORDS, signature

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "pii" / "presidio_synth_sample.jsonl"
TELLING = [
    "4111 1111 1111 1111", "4111-1111\u20111111 1111", "DE89 3704 0044 0532 0130 00", "078-05-1120", "+49 30 901820",
    "a.b@example.com", "a＠example.com", "8.8.8.8", "2001:4860:4860::8888", "1:2:3:4:5:6:7:8", "ABCPE1234F", "1234F",
    "tel 555 0100", "ssn 219099999", "-----BEGIN PRIVATE KEY-----\nabc", "sk-proj-a1b2c3d4e5f6a7b8",
    "ghp_0123456789abcdefghij", "eyJhbGciOiJI.eyJzdWIi.c2ln", "AKIAIOSFODNN7EXAMPLE",
    "SG.0123456789abcdefgh.0123456789abcdefghijklmnopqrst", "api key: x9y8z7w6v5", "password", "hunter2hunter2",
    "\u0661\u0662\u0663-\u0664\u0665-\u0666\u0667\u0668\u0669", "tok\u200ben = Zx81qwertz", "x9y8z7፩k", "plain words",
    "no digits here: none",
]  # fmt: skip
PARTS = st.lists(st.one_of(st.sampled_from(TELLING), st.text(max_size=12)), min_size=1, max_size=4).map(" ".join)
TEXT = st.text(
    alphabet=st.sampled_from("ab eé ßfi\n\t\r\x0b\x0c\x01\x1c\x85\u2028\u00a0\u3000\u200b中.-'#[]_"), max_size=80
)


def blocks_of(texts: list[str], table: bool) -> list[Block]:
    paragraphs = [Block(kind="paragraph", text=text) for text in texts]
    if not table or len(texts) < 2:
        return paragraphs
    rows = tuple((text, texts[0]) for text in texts)
    return [*paragraphs, Block(kind="table", text=clean.table_text(rows), rows=rows)]


def long_way(blocks: list[Block]) -> list[str]:
    counts: Counter[str] = Counter()
    return [redact._redact_block(block, counts, KINDS, b"", find).text for block in blocks]


def assert_same(blocks: list[Block]) -> None:
    assert [block.text for block in redact.redact_blocks(blocks)[0]] == long_way(blocks)


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=4), st.booleans())
def test_a_glance_at_the_whole_misses_nothing_that_looking_at_each_block_finds(texts: list[str], table: bool) -> None:
    assert_same(blocks_of(texts, table))


@pytest.mark.parametrize("telling", TELLING)
def test_a_glance_sees_each_kind_by_itself_too(telling: str) -> None:
    assert_same([Block(kind="paragraph", text=telling)])
    assert {found.kind for found in find(telling)} <= set(possible([telling], KINDS))


def test_a_glance_misses_nothing_in_published_samples() -> None:
    if not SAMPLES.is_file():
        pytest.skip("shared/data/pii is not here: the glance is not compared on published samples")
    texts = [json.loads(line)["full_text"] for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    for at in range(0, len(texts), 3):
        assert_same(blocks_of(texts[at : at + 3], table=False))


def test_kinds_that_others_look_for_are_never_left_out() -> None:
    assert possible(["nothing"], ["name", *KINDS]) == ["name"]


def test_each_known_key_begins_with_a_hint() -> None:
    hints = [(mark, hint) for mark, hints in KEY_HINTS.items() for hint in hints]
    assert all(any(mark in prefix and hint in prefix for mark, hint in hints) for prefix in KEY_PREFIXES)


@settings(max_examples=300, deadline=None)
@given(TEXT, st.booleans())
def test_white_space_is_cleaned_as_by_all_expressions_in_turn(text: str, code: bool) -> None:
    short = clean._white_space(text, code)
    runs = text if code else clean._RUNS.sub(" ", text)
    assert short == clean._BLANK_LINES.sub("\n\n", clean._TRAILING.sub("", runs)).strip("\n")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["one", "zwei", "très", "文", "1", "word"]), max_size=80))
def test_a_signature_is_that_of_each_shingle_by_itself(words: list[str]) -> None:
    text = " ".join(words)
    made = signature(text)
    if len(words) < 20:
        assert made == b""
        return
    encoded = [word.encode() for word in words]
    least: dict[int, int] = {}
    for at in range(len(words) - SHINGLE_WORDS + 1):
        digest = blake2b(b" ".join(encoded[at : at + SHINGLE_WORDS]), digest_size=8).digest()
        drawn = int.from_bytes(digest, "big")
        least[drawn % VALUES] = min(drawn >> 32, least.get(drawn % VALUES, 1 << 32))
    values = struct.unpack(f"<{VALUES}I", made)
    assert all(values[place] == value for place, value in least.items())


def bert(folder: Path) -> tuple[Tokenizer, tokens.Count]:
    vocabulary = ["[UNK]", "a", "##a", "b", "##b", "ab", "e", "##e", "中", ".", "-", "[", "]", "#", "_", "'"]
    whole = Tokenizer(WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    whole.normalizer, whole.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    whole.save(str(folder / "tokenizer.json"))
    return whole, tokens.load(str(folder / "tokenizer.json"))[0]


def test_words_counted_one_by_one_are_as_many_tokens_as_the_whole(tmp_path: Path) -> None:
    whole, counted = bert(tmp_path)

    @settings(max_examples=300, deadline=None)
    @given(TEXT)
    def same(text: str) -> None:
        assert counted(text) == len(whole.encode(text, add_special_tokens=False).ids)
        assert tokens.load("")[0](text) == tokens.estimate(text)

    same()
    assert counted.__name__ == "counted"


def test_a_tokenizer_that_reads_across_words_is_asked_whole(tmp_path: Path) -> None:
    whole, _ = bert(tmp_path)
    whole.pre_tokenizer = Metaspace()
    whole.save(str(tmp_path / "tokenizer.json"))
    counted, _name = tokens.load(str(tmp_path / "tokenizer.json"))
    assert counted.__name__ == "count"
    assert re.search("tokenizer", _name)


def language_word_by_word(text: str) -> str:
    sample = text[: languages.SAMPLE_CHARS]
    if languages._OF_ADDRESSES.search(sample):
        sample = " ".join(part for part in sample.split() if not languages._OF_ADDRESSES.search(part))
    if script := languages._by_script(sample):
        return script
    words = languages._WORD.findall(sample.lower().replace("’", "'"))
    return languages._by_words(len(words), Counter(filter(languages._WEIGHTS.__contains__, words)))


SPOKEN = [
    *("the of and is that", "der die und nicht", "de la que el en", "l'on c’est d'un", "и не на что", "ОДИΣ Σ ΣΑΣ"),
    *(
        "北京的天气",
        "これはテスト",
        "한국어 문장",
        "os.path_join",
        "http://a.b/the",
        "a@b",
        "x" * 70,
        "— “the” …",
        "İ I ß",
    ),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(SPOKEN), st.text(max_size=8)), max_size=30),
    st.sampled_from([" ", "\n", "\x1c", "\u3000"]),
)
def test_a_language_is_told_from_parts_between_spaces_as_from_the_whole(parts: list[str], between: str) -> None:
    text = between.join(parts)
    assert languages.language(text) == language_word_by_word(text)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_folding_leaves_out_only_what_folds_to_itself(text: str) -> None:
    folded = "".join(recognise._fold_char(char) if ord(char) > 127 else char for char in text)
    assert recognise._fold(text)[0] == folded
