"""The words `alike` knows. Each list is closed and short: a word that is not here must be the same in both questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WH: Final = frozenset(["what", "who", "whom", "whose", "which", "when", "where", "why", "how"])
ASKING: Final = WH | frozenset(
    [
        "is", "are", "was", "were", "am", "do", "does", "did", "has", "have", "had", "can", "could", "will", "would", "should",
        "may", "might", "must",
    ]
)  # fmt: skip
# One of these, and none of FOREIGN, and the text is taken for English.
ENGLISH: Final = frozenset(
    [
        "the", "is", "are", "was", "were", "did", "does", "what", "who", "whom", "whose", "how", "which", "where", "when", "why",
        "of", "to", "and", "for", "with", "can", "what's", "who's", "where's", "how's", "please", "it", "i", "us", "or",
        "will",
    ]
)  # fmt: skip
# In capitals they are other words: WHO, IT, US, IN.
SMALL: Final = ENGLISH | ASKING | frozenset(["a", "an", "in", "on", "at", "as", "so", "no", "me", "by", "be", "if"])
FOREIGN: Final = frozenset(
    [
        "el", "los", "las", "una", "que", "qué", "del", "por", "para", "como", "cómo", "der", "das", "den", "dem", "ist", "und",
        "ein", "eine", "wer", "wie", "les", "des", "une", "est", "et", "dans", "quel", "quelle", "il", "che", "della", "di",
        "os", "uma", "não", "het", "een", "och", "att",
    ]
)  # fmt: skip
FOREIGN_ASKING: Final = frozenset(
    [
        "qué", "quién", "quiénes", "cuál", "cuáles", "cuándo", "cuánto", "cuánta", "cuántos", "cuántas", "cómo", "dónde",
        "où", "quand", "comment", "pourquoi", "quel", "quelle", "wer", "wo", "wann", "warum", "wie", "chi", "dove", "perché",
        "onde", "quem",
    ]
)  # fmt: skip
# Another word with a capital than without one: never folded, unless a question merely begins with it.
CAPITONYMS: Final = frozenset(
    [
        "access", "amazon", "apple", "arch", "august", "band", "bath", "beetle", "bill", "bourbon", "boxer", "buffalo", "bush",
        "cancer", "cars", "catholic", "chad", "chile", "china", "chrome", "cologne", "congress", "conservative", "cork", "cream",
        "cure", "dane", "democrat", "discord", "dodge", "doors", "eagles", "earth", "edge", "excel", "ford", "frank", "galaxy",
        "gates", "genesis", "go", "god", "grace", "greens", "guinea", "hamlet", "hope", "ice", "independent", "it", "jack",
        "jaguar",
        "java", "jersey", "job", "journey", "jordan", "king", "kiss", "labour", "lent", "liberal", "lima", "march", "mark", "mars",
        "may", "mercury", "meta", "mint", "mobile", "moon", "mustang", "nice", "office", "opera", "oracle", "orange", "outlook",
        "pascal", "phoenix", "police", "polish", "prince", "puma", "python", "queen", "ram", "reading", "republican", "rich",
        "rose", "ruby", "rush", "rust", "safari", "saturn", "shell", "slack", "split", "spring", "square", "state", "stripe", "sun",
        "swede", "swift", "target", "teams", "titan", "turkey", "us", "venus", "visa", "who", "will", "windows", "word", "zoom",
    ]
)  # fmt: skip
# Whoever asks about the words themselves is answered by how they are written: no folding there.
WORDING: Final = frozenset(
    [
        "spell", "spelled", "spelling", "misspelled", "write", "written", "word", "words", "letter", "letters", "character",
        "characters", "translate", "translation", "correct", "grammar", "grammatical", "rewrite", "rephrase", "paraphrase",
        "proofread", "uppercase", "lowercase", "capitalize", "capitalise", "capitalized", "count", "pronounce", "pronounced",
        "mean",
        "means", "meaning", "define", "definition", "synonym", "synonyms", "rhyme", "rhymes", "sentence", "punctuation",
        "apostrophe", "contraction", "typo", "anagram", "palindrome", "traduce", "traducir", "palabra", "palabras", "escribe",
        "significa", "letras",
    ]
)  # fmt: skip
GREETINGS: Final = tuple(
    text.split()
    for text in (
        "good morning", "good afternoon", "good evening", "hello there", "hi there", "hello", "hi", "hey", "please",
    )
)  # fmt: skip
CLOSINGS: Final = tuple(
    text.split()
    for text in (
        "thank you in advance", "thanks in advance", "thank you very much", "thank you", "many thanks", "thanks", "please",
    )
)  # fmt: skip
# Dropped only where an asking word follows.
OPENINGS: Final = tuple(
    text.split()
    for text in (
        "can you please tell me", "could you please tell me", "would you please tell me", "can you tell me",
        "could you tell me", "would you tell me", "please tell me", "tell me", "i would like to know", "i want to know",
        "i need to know", "may i ask", "may* i ask", "can i ask",
    )
)  # fmt: skip
SPLIT: Final[Mapping[str, tuple[str, ...]]] = {
    "can't": ("can", "not"), "cannot": ("can", "not"), "won't": ("will", "not"), "shan't": ("shall", "not"),
    "dont": ("do", "not"), "doesnt": ("does", "not"), "didnt": ("did", "not"), "isnt": ("is", "not"),
    "wasnt": ("was", "not"), "whats": ("what", "is"), "wheres": ("where", "is"),
}  # fmt: skip
# Spellings and misspellings that have no other meaning, and small numerals ("one" is too many other things).
SAME: Final[Mapping[str, str]] = {
    "teh": "the", "waht": "what", "wich": "which", "whcih": "which", "thier": "their",
    "becuase": "because",
    "e-mail": "email", "web-site": "website", "okay": "ok",
    "colour": "color", "colours": "colors", "favourite": "favorite", "favour": "favor", "behaviour": "behavior",
    "honour": "honor", "neighbour": "neighbor", "neighbours": "neighbors", "harbour": "harbor",
    "organisation": "organization", "organisations": "organizations", "organise": "organize", "organised": "organized",
    "realise": "realize", "realised": "realized", "recognise": "recognize", "recognised": "recognized",
    "analyse": "analyze", "analysed": "analyzed", "centre": "center", "centres": "centers", "theatre": "theater",
    "defence": "defense", "travelling": "traveling", "cancelled": "canceled", "catalogue": "catalog",
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
    "eleven": "11", "twelve": "12",
}  # fmt: skip
