#!/usr/bin/env python3
"""usage: exposition.py FILE

Says what in a file is against the rules of the Prometheus text format, or against what its users expect: HELP and TYPE
once and before the samples, which stand together; names, labels and escapes; no series twice; counters that end in
_total, units seconds and bytes; histograms with rising buckets up to +Inf, _sum and _count; UTF-8."""
import re
import sys

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
TYPES = {"counter", "gauge", "histogram"}
bad = []


def labels_of(text):
    """The labels in braces, in order; None where they are not of that form."""
    labels, at = [], 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            return None
        labels.append(match.groups())
        at = match.end()
        if at < len(text):
            if text[at] != ",":
                return None
            at += 1
    return labels if len({name for name, _ in labels}) == len(labels) else None


def number_of(text):
    if text in ("+Inf", "-Inf", "NaN"):
        return float(text)
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?", text) else None


def check_name(name, kind, help_text):
    if (kind == "counter") != name.endswith("_total"):
        bad.append(f"{name}: a {kind}")
    if re.search(r"_(ms|us|kb|mb|milliseconds|percent|mean|average)(_|$)", name):
        bad.append(f"{name}: another unit than seconds and bytes, or a mean")
    if len(help_text.split()) < 2 or not help_text.endswith("."):
        bad.append(f"{name}: its HELP is no sentence")


def check_histogram(name, samples):
    """samples: of all series of the name, as (suffix, labels, value)"""
    series = {}
    for suffix, labels, value in samples:
        rest = tuple(pair for pair in labels if pair[0] != "le")
        series.setdefault(rest, {}).setdefault(suffix, []).append((dict(labels).get("le"), value))
    for labels, parts in series.items():
        bounds = [(number_of(le) if le else None, value) for le, value in parts.get("_bucket", [])]
        values = [value for _, value in bounds]
        if not bounds or any(le is None for le, _ in bounds) or bounds[-1][0] != float("inf"):
            bad.append(f"{name}{labels}: no bucket of +Inf at the end")
        elif [le for le, _ in bounds] != sorted({le for le, _ in bounds}) or values != sorted(values):
            bad.append(f"{name}{labels}: buckets do not rise")
        elif len(parts.get("_sum", [])) != 1 or [v for _, v in parts.get("_count", [])] != [values[-1]]:
            bad.append(f"{name}{labels}: no _sum, or another _count than the last bucket")


def main(path):
    text = open(path, "rb").read().decode("utf-8")
    helps, kinds, order, seen, histograms = {}, {}, [], set(), {}
    if not text.endswith("\n"):
        bad.append("no line end at the end")
    for line in text.splitlines():
        match = re.fullmatch(r"# (HELP|TYPE) ([^ ]+) (.+)", line)
        if match:
            table = helps if match[1] == "HELP" else kinds
            if match[2] in table or (match[1] == "TYPE" and match[3] not in TYPES):
                bad.append(f"{line}: a second time, or of no type")
            table[match[2]] = match[3]
            order.append(match[2]) if match[1] == "TYPE" else None
            continue
        match = re.fullmatch(r"([^ {]+)\{(.*)\} ([^ ]+)", line)
        labels = labels_of(match[2]) if match else None
        if labels is None or not NAME.fullmatch(match[1]) or number_of(match[3]) is None:
            bad.append(f"{line}: not NAME{{LABELS}} NUMBER")
            continue
        suffix = re.search(r"_(bucket|sum|count)$", match[1])
        name = match[1][: suffix.start()] if suffix and kinds.get(match[1][: suffix.start()]) == "histogram" else match[1]
        if not order or order[-1] != name or name not in helps:
            bad.append(f"{line}: not right behind its HELP and TYPE")
        if (match[1], tuple(sorted(labels))) in seen:
            bad.append(f"{line}: a second time")
        if not labels or labels[0][0] != "mount":
            bad.append(f"{line}: no mount")
        if kinds.get(name) == "counter" and number_of(match[3]) < 0:
            bad.append(f"{line}: a counter below 0")
        seen.add((match[1], tuple(sorted(labels))))
        if name != match[1]:
            histograms.setdefault(name, []).append((suffix[0], labels, number_of(match[3])))
    for name, kind in kinds.items():
        check_name(name, kind, helps.get(name, ""))
        if kind == "histogram":
            check_histogram(name, histograms.get(name, []))


main(sys.argv[1])
for what in bad:
    print("    " + what)
sys.exit(1 if bad else 0)
