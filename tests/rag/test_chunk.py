from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.core.parsing import Block
from bascule.rag import tokens
from bascule.rag.chunk import chunk, joined
from bascule.rag.clean import table_text

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa"


def words(text):
    return len(text.split())


def head(text, level=1):
    return Block(kind="heading", text=text, level=level)


def para(text, **fields):
    return Block(kind=fields.pop("kind", "paragraph"), text=text, **fields)


def table(*rows):
    return Block(kind="table", text=table_text(rows), rows=tuple(rows))


def chunks_of(*blocks, budget=10, count=words):
    return chunk(blocks, budget=budget, count=count)


def test_headings_become_the_path_of_what_is_below_them():
    made = chunks_of(head("A"), para("one"), head("B", 2), para("two"), head("C"), para("three"))
    assert [(c.heading_path, c.text) for c in made] == [(("A",), "one"), (("A", "B"), "two"), (("C",), "three")]


def test_a_heading_with_nothing_below_it_is_not_lost():
    made = chunks_of(head("A"), head("B", 2), head("C"))
    assert [(c.heading_path, c.text) for c in made] == [(("A",), "B"), ((), "C")]


def test_an_endless_heading_is_shortened_in_the_path_and_kept_in_the_text():
    made = chunks_of(head("x " * 300), para("body"), budget=400)
    assert made[0].text.startswith("x x x") and len(made[1].heading_path[0]) == 120 and made[1].text == "body"


def test_small_blocks_share_a_chunk_up_to_the_budget():
    made = chunks_of(para("a b c d"), para("e f g h"), para("i j k l"))
    assert [c.text for c in made] == ["a b c d\n\ne f g h", "i j k l"]


def test_long_text_is_cut_between_sentences_without_overlap():
    text = "One two three four. Five six seven eight, Dr. Nine ten. Eleven twelve 13! Next one here."
    made = chunks_of(para(text))
    assert [c.text for c in made] == [
        "One two three four.",
        "Five six seven eight, Dr. Nine ten. Eleven twelve 13!",
        "Next one here.",
    ]


def test_code_stays_together_when_it_fits_and_is_cut_between_lines_when_not():
    whole = para("def f():\n    return 1", kind="code")
    assert [(c.text, c.kind) for c in chunks_of(para("x " * 8), whole)] == [
        ("x " * 8, "text"),
        ("def f():\n    return 1", "code"),
    ]
    long = para("\n".join(f"    line {n} end" for n in range(8)), kind="code")
    made = chunks_of(long)
    assert (
        all(c.kind == "code" and c.text.startswith("    line") and c.text.endswith("end") for c in made)
        and len(made) == 3
    )


def test_a_table_is_cut_by_rows_and_repeats_its_header():
    block = table(("Item", "Days"), *((f"item {n}", str(n)) for n in range(6)))
    document = joined([block])
    made = chunks_of(block, budget=12)
    assert all(c.kind == "table" and c.text.startswith("Item | Days\nitem ") for c in made) and len(made) == 3
    assert made[0].text == document[made[0].start : made[0].end]
    for c in made[1:]:
        assert c.text == "Item | Days\n" + document[c.start : c.end]


def test_a_table_without_a_header_invents_none():
    block = table(("", ""), ("1", "2"), ("3", "4"))
    assert [c.text for c in chunks_of(block)] == ["1 | 2\n3 | 4"]


def test_a_row_longer_than_a_chunk_is_cut_and_keeps_the_header():
    made = chunks_of(table(("Item", "Text"), ("a", WORDS + " " + WORDS)))
    assert len(made) >= 2 and all(c.text.startswith("Item | Text\n") for c in made)


def test_an_endless_header_is_not_repeated():
    made = chunks_of(table(("h " * 30, "x"), ("a", "b"), ("c", "d")))
    assert sum(len(c.text) for c in made) < 90 and made[-1].text == "a | b\nc | d"


def test_text_without_spaces_is_cut_between_whole_characters():
    family = "👨\u200d👩\u200d👧"
    made = chunks_of(para(family * 40), budget=16, count=len)
    assert "".join(c.text for c in made) == family * 40
    assert all(c.text[0] == "👨" for c in made)
    thai = "ภาษาไทยไม่มีช่องว่าง" * 20
    assert "".join(c.text for c in chunks_of(para(thai), budget=10, count=tokens.estimate)) == thai


def test_pages_and_repeats_are_told_apart():
    same = para("the same words here", page=1)
    made = chunks_of(head("A"), same, head("B"), para("other", page=2), head("A"), same)
    assert [c.page for c in made] == [1, 2, 1]
    assert made[0].content_hash == made[2].content_hash and [c.occurrence for c in made] == [0, 0, 1]
    assert made[0].content_hash != chunks_of(head("Z"), same)[0].content_hash


ROWS = st.lists(st.tuples(st.just("a b"), st.text("cd ", max_size=60)), min_size=1, max_size=6)
BLOCKS = st.lists(
    st.one_of(
        st.builds(head, st.text("ab \n.", min_size=1).filter(str.strip), st.integers(1, 6)),
        st.builds(para, st.text("ab .\n!é語👨\u200d", min_size=1, max_size=200).filter(str.strip)),
        st.builds(lambda text: para(text, kind="code"), st.text("ab \n", min_size=1, max_size=200).filter(str.strip)),
        st.builds(
            lambda rows: table(*rows),
            st.lists(st.tuples(st.just("a b"), st.text("cd ", max_size=60)), min_size=1, max_size=6),
        ),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(BLOCKS, st.integers(2, 30), st.sampled_from([words, len, tokens.estimate]))
def test_chunks_are_slices_in_order_within_the_budget_and_lose_no_word(blocks, budget, count):
    document = joined(blocks)
    made = chunk(blocks, budget=budget, count=count)
    covered = set()
    at = 0
    for c in made:
        assert at <= c.start < c.end <= len(document)
        at = c.end
        covered.update(range(c.start, c.end))
        body = document[c.start : c.end]
        assert c.text == body or (c.kind == "table" and c.text.endswith("\n" + body))
        assert c.tokens == count(c.text)
        if c.kind != "table" and c.end - c.start > 64:
            assert c.tokens <= budget
    inside = 0
    for block in blocks:
        if block.kind != "heading":
            span = range(inside, inside + len(block.text))
            assert all(i in covered or document[i].isspace() or block.rows for i in span)
        inside += len(block.text) + 2


def test_without_a_tokenizer_file_the_estimate_counts():
    count, name = tokens.load("/nowhere/tokenizer.json")
    assert name == "estimate" and count("Hello, world") == 3 and count("日本語") == 3 and count("extraordinary") == 3


def test_a_tokenizer_file_is_used_without_its_truncation(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count, name = tokens.load(str(tmp_path / "tokenizer.json"))
    assert name == "tokenizer" and count("a a a b c d") == 6 and count("a") == 1
