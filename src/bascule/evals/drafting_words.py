"""Words that the patterns of `drafting` know."""

from __future__ import annotations

from typing import Final

_MONTH: Final = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
WHEN: Final = (
    rf"(?:\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}}, \d{{4}}|{_MONTH} \d{{4}}|{_MONTH} \d{{1,2}}|1[0-9]\d\d|20\d\d)"
)
NUMBER: Final = (
    r"(?:\d[\d,.]*\d|\d|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|fifteen|twenty|thirty|forty|fifty"
    r"|sixty|ninety|one hundred)"
)
SPANS: Final = frozenset(
    ["days", "hours", "minutes", "seconds", "weeks", "months", "years", "metres", "meters", "miles"]
)
ADJECTIVES: Final = ("long", "high", "wide", "deep", "tall", "old", "thick", "heavy", "away")
PARTICIPLES_OF_PLACE: Final = (
    "born", "located", "situated", "held", "based", "built", "buried", "headquartered", "raised", "educated", "stored",
    "published", "signed", "founded",
)  # fmt: skip
PEOPLE: Final = frozenset([
    "man", "woman", "king", "queen", "emperor", "bishop", "writer", "author", "poet", "engineer", "physicist", "scientist",
    "inventor", "politician", "philosopher", "theologian", "painter", "composer", "mathematician", "leader",
    "president", "minister", "professor", "actor", "singer", "musician", "architect", "historian", "priest", "monk", "pope",
    "footballer", "player", "astronaut", "chemist", "biologist", "economist", "person", "businessman", "merchant",
    "explorer", "artist", "saint", "prince", "princess", "duke", "soldier", "officer", "journalist", "lawyer",
])  # fmt: skip
NO_SUBJECT: Final = frozenset([
    "it", "he", "she", "they", "we", "you", "i", "this", "these", "those", "that", "there", "here", "who", "which", "what",
    "some", "many", "most", "one", "another", "such", "other", "others", "both", "no", "none", "few", "several",
    "its", "his", "her", "their", "our", "my", "your", "but", "and", "or", "so", "yet", "if", "when", "while", "because",
    "although", "though", "since", "after", "before", "until", "as", "in", "on", "at", "by", "for", "from", "with", "during",
    "under", "over", "to", "of", "however", "also", "then", "thus", "therefore", "finally", "today", "not", "only", "even",
    "whether", "where", "how", "why", "instead", "nevertheless", "meanwhile", "all", "more", "part", "much", "early", "later",
    "despite", "according", "through", "upon", "like", "unlike", "among", "between", "near", "once", "perhaps", "now", "two",
    "three", "four",
])  # fmt: skip
CLAUSE: Final = frozenset([
    "that", "which", "who", "whom", "whose", "where", "when", "if", "because", "while", "although", "though", "whether",
    "but", "so", "than", "says", "said", "claims", "say", "states", "until", "unless", "did", "does", "do", "had", "has",
    "have", "been", "also", "not", "there", "it", "this", "these", "they", "he", "she", "as",
])  # fmt: skip
BASE_FORMS: Final = {
    "began": "begin", "became": "become", "won": "win", "took": "take", "died": "die", "moved": "move", "opened": "open",
    "started": "start", "ended": "end", "joined": "join", "left": "leave", "married": "marry", "returned": "return",
    "published": "publish", "founded": "found", "established": "establish", "graduated": "graduate", "received": "receive",
    "signed": "sign", "invented": "invent", "discovered": "discover", "launched": "launch", "introduced": "introduce",
    "adopted": "adopt", "arrived": "arrive", "closed": "close", "completed": "complete", "captured": "capture",
    "conquered": "conquer", "created": "create", "defeated": "defeat", "entered": "enter", "gained": "gain", "passed": "pass",
    "invaded": "invade", "ratified": "ratify", "released": "release", "retired": "retire", "acquired": "acquire",
    "announced": "announce", "built": "build", "bought": "buy", "sold": "sell", "wrote": "write", "merged": "merge",
}  # fmt: skip
HOLDING: Final = {  # the verb -> auxiliary and base form
    "has": ("does", "have"), "have": ("do", "have"), "had": ("did", "have"), "contains": ("does", "contain"),
    "contain": ("do", "contain"), "contained": ("did", "contain"), "includes": ("does", "include"),
    "employs": ("does", "employ"), "employed": ("did", "employ"), "comprises": ("does", "comprise"), "covers": ("does", "cover"),
    "offers": ("does", "offer"), "get": ("do", "get"), "gets": ("does", "get"), "received": ("did", "receive"),
}  # fmt: skip
VERBS: Final = frozenset([
    *BASE_FORMS, *HOLDING, "is", "are", "was", "were", "can", "may", "must", "will", "should", "made", "came", "went", "gave",
    "saw", "held", "led", "makes", "gives", "leads", "means", "allows", "requires", "uses", "found", "told", "thought",
])  # fmt: skip
ABSENT: Final = (  # about everyday things; asked of a collection only where its search finds nothing about them
    "How long does it take to boil an ostrich egg?",
    "Which composer wrote the opera Rusalka?",
    "What is the melting point of tungsten?",
    "How many moons does the planet Neptune have?",
    "Who painted the ceiling of the Würzburg Residence?",
    "Which mountain is the highest in Iceland?",
    "What is the capital of Burkina Faso?",
    "How many strings does a hurdy-gurdy have?",
    "At what temperature does chocolate need to be tempered?",
    "Which team won the ice hockey world championship in 1985?",
    "How far is the lighthouse of Ushant from the coast of Brittany?",
    "When was the first zeppelin flown over Lake Constance?",
    "How many calories are in a slice of rye bread?",
    "Who invented the zip fastener?",
    "Which glacier feeds the river Rhone?",
    "How deep can an emperor penguin dive?",
    "What does a barometer measure?",
    "How many players are on a lacrosse team?",
    "Which gas gives neon signs of violet colour their glow?",
    "How long is the gestation period of an African elephant?",
    "Who composed the soundtrack of the film Solaris?",
    "What is the wingspan of an albatross?",
    "Which pigment makes flamingos pink?",
    "How many keys does a grand piano have?",
    "Which yeast is used for brewing lager?",
    "When does the cherry blossom begin in Kyoto?",
    "How tall is the tallest giant sequoia?",
    "Who discovered the tomb of Tutankhamun?",
    "How many teeth does an adult horse have?",
    "Which language is spoken on the Faroe Islands?",
)
