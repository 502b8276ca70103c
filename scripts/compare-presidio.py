"""Recall and precision of Presidio's pattern recognizers and of ours, on the labelled set.

Called by compare-presidio.sh with the set, one JSON object a line. A piece counts as found when
findings of any category cover the whole of it: that is what keeps it from leaking. A finding that
touches no labelled piece is wrong, whatever it is called.
"""

import json
import logging
import sys
from collections import defaultdict

logging.disable(logging.CRITICAL)

import spacy  # noqa: E402
from presidio_analyzer import PatternRecognizer, predefined_recognizers  # noqa: E402
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer  # noqa: E402
from presidio_analyzer.nlp_engine import NlpArtifacts  # noqa: E402

BLANK = spacy.blank("en")


def recognizers():
    """Every recognizer of patterns that Presidio comes with, for whichever country."""
    found = []
    for name in sorted(dir(predefined_recognizers)):
        kind = getattr(predefined_recognizers, name)
        if not isinstance(kind, type) or kind is PatternRecognizer:
            continue
        # PhoneRecognizer asks a library of numbering plans; it needs no model either.
        if issubclass(kind, PatternRecognizer) or name == "PhoneRecognizer":
            try:
                found.append(kind())
            except Exception as error:  # one that needs what is not here
                print(f"left out: {name}: {error}", file=sys.stderr)
    return found


class Engine:
    """What a recognizer asks of a language: the words that can be context."""

    def is_stopword(self, word, language):
        return False

    def is_punct(self, word, language):
        return not any(c.isalnum() for c in word)


def artifacts(text):
    doc = BLANK(text)
    words = [token.text.lower() for token in doc]
    return NlpArtifacts(
        entities=[], tokens=doc, tokens_indices=[token.idx for token in doc], lemmas=words, nlp_engine=Engine(), language="en"
    )


def presidio(all_of_them, enhancer, text):
    known = artifacts(text)
    results = []
    for recognizer in all_of_them:
        results += recognizer.analyze(text=text, entities=recognizer.supported_entities, nlp_artifacts=known) or []
    results = enhancer.enhance_using_context(
        text=text, raw_results=results, nlp_artifacts=known, recognizers=all_of_them, context=None
    )
    return [(r.start, r.end, r.score, r.entity_type) for r in results]


def covered(piece, findings):
    place = piece["start"]
    for start, end in sorted(findings):
        if start <= place < end:
            place = end
    return place >= piece["end"]


def measure(lines, find):
    scores = defaultdict(lambda: [0, 0])
    wrong = harmed = clean = 0
    for line in lines:
        piece, findings = line["label"], find(line)
        if piece:
            score = scores[piece["category"]]
            score[1] += 1
            score[0] += covered(piece, findings)
            wrong += sum(1 for s, e in findings if e <= piece["start"] or s >= piece["end"])
        else:
            clean += 1
            harmed += bool(findings)
    return scores, wrong, harmed, clean


def main():
    lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    everyone = recognizers()
    enhancer = LemmaContextAwareEnhancer()
    for line in lines:
        line["theirs"] = presidio(everyone, enhancer, line["text"])
    finders = [
        ("agent_policy", lambda l: [(f["start"], f["end"]) for f in l["found"]]),
        ("Presidio, any score", lambda l: [(s, e) for s, e, _, _ in l["theirs"]]),
        ("Presidio, from 0.5", lambda l: [(s, e) for s, e, score, _ in l["theirs"] if score >= 0.5]),
    ]
    for name in ("generated", "written"):
        part = [line for line in lines if line["set"] == name]
        measured = [(who, *measure(part, find)) for who, find in finders]
        print(f"\n{name}: {sum(1 for l in part if l['label'])} pieces, {sum(1 for l in part if not l['label'])} texts without any\n")
        print("| found, whole | " + " | ".join(who for who, *_ in measured) + " |")
        print("|---|" + "--:|" * len(measured))
        for category in sorted(measured[0][1]):
            row = [f"{scores[category][0]} of {scores[category][1]}" for _, scores, *_ in measured]
            print(f"| {category} | " + " | ".join(row) + " |")
        totals = [(sum(s[0] for s in scores.values()), sum(s[1] for s in scores.values())) for _, scores, *_ in measured]
        print("| all | " + " | ".join(f"{100 * hit / of:.1f} %" for hit, of in totals) + " |")
        print("| texts without any, changed | " + " | ".join(f"{harmed} of {clean}" for *_, harmed, clean in measured) + " |")
        print("| further findings in the others | " + " | ".join(str(wrong) for _, _, wrong, *_ in measured) + " |")
        missed = [l for l in part if l["label"] and not covered(l["label"], finders[0][1](l)) and covered(l["label"], finders[1][1](l))]
        print(f"\nfound by Presidio alone ({len(missed)}):")
        for line in missed[:20]:
            piece = line["label"]
            by = sorted({f"{kind} {score:.2f}" for s, e, score, kind in line["theirs"] if s < piece["end"] and e > piece["start"]})
            print(f"- {piece['category']}: {line['text']!r} ({', '.join(by)})")


main()
