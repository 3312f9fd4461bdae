"""Which language a text is in: by its script, and by its function words where several languages share one.

Profiles of ours in place of a library: the well-kept ones carry a model of 100 MB of memory or a second of start for each
parsing process, or weights under a share-alike licence. What is too short or too mixed to tell has no language, never a guess.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Final

SAMPLE_CHARS: Final = 20_000
_MIN_WORDS: Final = 3.0  # of function words, those of several languages counted in part
_MIN_SHARE: Final = 0.08  # of all words
_MIN_LEAD: Final = 1.25  # over the second language
_MIN_SCRIPT: Final = 0.3  # of letters: such a text holds much that is Latin, code and names
_MIN_LETTERS: Final = 12
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_OF_ADDRESSES: Final = re.compile(r"://|[@\\_]")  # what holds one is an address or a name in code
_KEPT_PARTS: Final = 16_384  # whose words are remembered: most of a text is in the one before it too
_LONGEST_KEPT: Final = 60

_FUNCTION_WORDS: Final = {
    "en": (
        "the of and to in is that for it as was with be by on not this are or from at an which you have has but will if "
        "can all when your they their there been were more than other who do we he his what should must may"
    ),
    "de": (
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat "
        "dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis "
        "mehr durch man kann wenn diese dieser keine wir"
    ),
    "fr": (
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ou son mais "
        "comme aux cette être fait leur ont sa ces si nous vous peut été l'on d'un d'une c'est qu'il elle tous lorsque "
        "doit"
    ),
    "es": (
        "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí porque esta "
        "entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante si es son fue ha puede está "
        "qué"
    ),
    "it": (
        "di e il la che in a per un è del non una sono le con i da si come della nel dei alla più anche al gli dal lo ma "
        "delle se o questo essere nella ha su cui dalla suo può viene stato tra degli questa ai perché quando dell"
    ),
    "pt": (
        "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu sua ou quando "
        "muito nos já eu também só pelo pela até isso ela entre depois sem mesmo aos são pode está você ser foi"
    ),
    "nl": (
        "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij door of naar uit wordt heeft "
        "worden deze over dit nog was die je hun zich meer kan wel geen moet alle wanneer"
    ),
    "sv": (
        "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när år "
        "under också efter eller nu sin där vid mot ska skulle kommer ut får finns vara blir alla hade varit"
    ),
    "da": (
        "og i at det en den til er som på de med han af for ikke der var mig sig men et har om vi min havde ham hun nu "
        "over da fra du ud sin dem os op hvad eller kan blev skal også være denne hvis efter når bliver alle"
    ),
    "no": (
        "og i det på som er en til å han av for at var med de ikke den har jeg om et men så seg hun hadde fra vi kan skal "
        "etter ble bli ved eller nå også være hva noe dette når blir mot ut opp denne hvis alle"
    ),
    "fi": (
        "ja on ei se että oli ole hän mutta ovat kuin myös joka tai niin kun sen jos mukaan vain sekä voi olla ollut "
        "jotka tämä siitä vielä mitä sitä hänen tämän kuitenkin voidaan jonka ne nyt jälkeen kanssa ennen jo käyttää "
        "ilman"
    ),
    "pl": (
        "w i na z się do nie to że jest o jak a po co za od tak ale już przez czy dla być lub oraz tylko może są jego "
        "który które która tego tym jeśli jako ma ten gdy także przy można był było będzie został"
    ),
    "cs": (
        "a se v na je že s z o do i to k ve pro za by ale jako po jsem jsou tak které který jeho nebo co už která bylo od "
        "ze však až byl není také být při jen může pokud tento podle kde má pouze soubor pokud mezi"
    ),
    "sk": (
        "a sa v na je že s z o do aj to k vo pre za by ale ako po som sú tak ktoré ktorý jeho alebo čo už ktorá bolo od "
        "zo však až bol nie tiež byť pri len môže ak tento podľa kde má iba medzi"
    ),
    "sl": (
        "in je v na se za da so ki z ne po pri tudi kot ali bi iz o ga še bo s do pa med lahko ima sem vse že bil zaradi "
        "kar če te to bilo kako samo mora več ta datoteke"
    ),
    "hr": (
        "i je u na se da za su od s o ne kao a ili koji što iz po do bi to će nije može samo sa ako koja ali prema biti "
        "kada bio koje ima sve pri nakon ovo više te ovaj bez"
    ),
    "hu": (
        "a az és hogy nem is egy ez meg csak de van volt ha vagy el már még mint be ki kell mert lehet azt fel csak "
        "minden nagyon után majd sem ezt pedig azonban között szerint illetve amely lesz akkor"
    ),
    "ro": (
        "de și în a la cu pe că nu un o din să este pentru se care mai ce prin sau ca fi al au cel sunt dacă dar după "
        "fost această acest când poate sub fără fiind ale are lui lor între"
    ),
    "tr": (
        "ve bir bu için ile da de olarak çok daha gibi olan ne ya en kadar sonra ise değil her mi ki var veya o ancak "
        "göre olduğu tarafından ama eğer bütün şekilde oldu diye hem biri zaman üzere kullanılır"
    ),
    "id": (
        "yang dan di dari untuk dengan ini pada tidak itu dalam adalah ke akan oleh atau juga sebagai ada bisa telah "
        "dapat saya lebih karena bahwa jika mereka sudah seperti anda secara hanya tersebut kami bila"
    ),
    "vi": (
        "và của là có không được trong cho một các với những này để người đã khi từ đến về như ở ra hay cũng thì phải còn "
        "nhưng nếu sẽ vào bạn việc năm"
    ),
    "ca": (
        "de la i el que a en un per les del els amb és una no se al ha més com o dels són pel aquest aquesta està també "
        "però seu fins sobre quan entre seva han pot ser nom sense si l'home d'un"
    ),
    "et": (
        "ja on ei et see oli ka kui aga mis ta oma või siis ning nii seda nagu mida välja selle kes ma mitte kõik väga "
        "üle pärast saab juba kuid poolt enne võib"
    ),
    "lv": (
        "un ir no ar uz par kas ka tas bija kā nav lai tā ja pie vai gan tiek pēc bet arī viņš to tika tikai šo var būs "
        "līdz"
    ),
    "lt": (
        "ir yra į kad su iš tai kaip buvo ne bet jo už ar nuo apie tik jis dėl pagal taip jau dar gali po iki prie arba "
        "šis kurie labai"
    ),
    "ru": (
        "и в не на что с по как это из но у для за от к он о его так же все или было только при быть если был до может "
        "также который чтобы вы того этот можно этого файл"
    ),
    "uk": (
        "і в не на що з та у до як це за від для є але його про по або був так які також при якщо може він бути цей щоб "
        "ви який під було лише має цього файл"
    ),
    "bg": (
        "и на да в се за не от е са с по че като до а или при ще това той към след което със който може има но както само "
        "ако бъде което този"
    ),
    "sr": (
        "и је у на се да за су од с о не као а или који што из по до би то ће није може само са ако која али према бити "
        "када био које има све"
    ),
    "fa": ("و در به از که این را با است آن برای یک هم تا بر خود می شود کرد شده"),
    "ar": ("في من على إلى أن عن التي هذا مع كان هذه الذي لا ما أو كما قد هو هي بعد"),
}
_SCRIPTS: Final = {
    "ko": re.compile(r"[가-힣]"), "ja": re.compile(r"[぀-ヿ]"), "zh": re.compile(r"[一-鿿]"),
    "el": re.compile(r"[Ͱ-Ͽ]"), "he": re.compile(r"[֐-׿]"), "th": re.compile(r"[฀-๿]"),
    "hi": re.compile(r"[ऀ-ॿ]"), "ka": re.compile(r"[Ⴀ-ჿ]"), "hy": re.compile(r"[԰-֏]"),
    "bn": re.compile(r"[ঀ-৿]"), "ta": re.compile(r"[஀-௿]"),
}  # fmt: skip
_ANY_SCRIPT: Final = re.compile("[" + "".join(pattern.pattern[1:-1] for pattern in _SCRIPTS.values()) + "]")
_ASKING: Final = frozenset(["what", "who", "whom", "whose", "where", "which", "why", "how", "did", "does"])
_WEIGHT_OF_HAN: Final = 3  # a character says as much as three letters


def _weights() -> Mapping[str, tuple[tuple[str, float], ...]]:
    """word -> (language, weight) of each: one for a word of its own, less for one that several share."""
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for language, words in _FUNCTION_WORDS.items():
        for word in set(words.split()):
            owners[word].append(language)
    return {word: tuple((code, 1 / len(owned) ** 0.5) for code in owned) for word, owned in owners.items()}


_WEIGHTS: Final = _weights()


def language(text: str) -> str:
    """The ISO 639-1 code of the language most of the text is in; "" where that cannot be told."""
    sample = text[:SAMPLE_CHARS]
    parts = sample.split()
    if not sample.isascii() and _ANY_SCRIPT.search(sample):
        script = _by_script("".join(part for part in parts if not _OF_ADDRESSES.search(part)))
        if script:
            return script
    read = _read_kept if max(map(len, parts), default=0) <= _LONGEST_KEPT else _read
    found = list(map(read, parts))
    return _by_words(sum(number for number, _ in found), Counter(chain.from_iterable(words for _, words in found)))


def _read(part: str) -> tuple[int, tuple[str, ...]]:
    """How many words are in what stands between two spaces, and those of them that tell a language."""
    if _OF_ADDRESSES.search(part):
        return 0, ()
    words = _words(part)
    return len(words), tuple(filter(_WEIGHTS.__contains__, words))


_read_kept: Final = lru_cache(_KEPT_PARTS)(_read)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'"))


def _by_script(sample: str) -> str:
    letters = sum(map(str.isalpha, sample))
    counts = {code: len(pattern.findall(sample)) for code, pattern in _SCRIPTS.items()}
    han = counts.pop("zh") + counts["ja"]
    if han * _WEIGHT_OF_HAN >= max(_MIN_LETTERS, _MIN_SCRIPT * letters) and han >= max(counts.values()):
        return "ja" if counts["ja"] >= 0.1 * han else "zh"
    code, most = max(counts.items(), key=lambda pair: pair[1])
    return code if most >= max(_MIN_LETTERS, _MIN_SCRIPT * letters) else ""


def _by_words(number: int, telling: Counter[str]) -> str:
    scores = _scores(number, telling)
    if not scores:
        return ""
    (best, most), *others = sorted(scores.items(), key=lambda pair: -pair[1])[:2]
    second = others[0][1] if others else 0
    enough = most >= _MIN_WORDS and most >= _MIN_SHARE * number
    return best if enough and most >= _MIN_LEAD * second else ""


def _scores(number: int, telling: Counter[str]) -> dict[str, float]:
    """Of `number` words in all."""
    scores: dict[str, float] = {}
    most = 1 + number // 20
    for word, times in telling.items():
        counted = min(times, most)
        for code, weight in _WEIGHTS[word]:
            scores[code] = scores.get(code, 0.0) + weight * counted
    return scores


def asks_in_english(question: str) -> bool:
    """A guess from few words, for what does no harm in a question of another language: it has more of English than of any other."""
    words = _words(question)
    scores = _scores(len(words), Counter(filter(_WEIGHTS.__contains__, words)))
    english = scores.pop("en", 0) + len(_ASKING.intersection(words))
    return english >= 1 and english > max(scores.values(), default=0) and "¿" not in question
