# SPDX-License-Identifier: GPL-2.0-only
"""The results of the matrix as one page for a browser. The page needs no other file: style and
script are in it. Only its links lead out, to the logs."""

import collections
import html
import pathlib

HERE = pathlib.Path(__file__).parent
# The outcomes, the one to look at first, and the sign of each: colour alone would not do.
SIGNS = {"failed": "✗", "known": "!", "skipped": "–", "passed": "✓"}
MEANING = {"failed": "the hand-over did not work", "known": "fails as lab/machines.cfg says",
           "skipped": "cannot run on this host", "passed": "what was carried over is whole"}
KEYS = ("Seconds are wall clock under emulation. Keys: arrows go from result to result, "
        "<kbd>Enter</kbd> opens one, <kbd>Esc</kbd> closes it, <kbd>/</kbd> goes to the search.")
# A transition has a column of its own if this many machines did it. The others share one.
COLUMN = 5


def tag(name, inside, /, **attributes):
    """An element. inside: HTML; attributes: text, with _ for - in a name, and none for None."""
    said = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
                   for key, value in attributes.items() if value is not None)
    return f"<{name}{said}>{inside}</{name}>"


def anchor(result):
    """The id of a result on the page."""
    return f"{result.base}-{result}"


def columns(found, transitions):
    """(transitions with a column of their own, the others), of those that ran, in this order."""
    count = collections.Counter(result.transition for result in found)
    own = [name for name in transitions if count[name] >= COLUMN]
    return own, [name for name in transitions if 0 < count[name] < COLUMN]


def reason(result):
    """Why a result is no pass, as HTML. It names the log, and so do the links."""
    return html.escape(result.why.partition(" (console log: ")[0])


def figures(result):
    """The figures of a result that are known, as (name, text)."""
    return [(name, text) for name, value, text in (
        ("whole test", result.seconds, f"{result.seconds:.1f} s"),
        ("hand-over", result.handover, f"{result.handover or 0:.2f} s"),
        ("table pages of the copy", result.tables, f"{result.tables or 0:,}"),
        ("bytes relocated", result.relocated, f"{result.relocated or 0:,}"),
        ("of these, with the MMU off", result.mmu_off, f"{result.mmu_off or 0:,}"))
        if value or (value is not None and name not in ("whole test", "hand-over"))]


def panel(result):
    """What is shown of a result on demand."""
    logs = "".join(tag("li", tag("a", html.escape(name), href=f"{result.base}/test/log/{name}"))
                   for name in result.logs)
    return tag("div", tag("b", f"{result.transition}: {result.outcome}", class_=result.outcome)
               + (tag("p", reason(result)) if result.why else "")
               + tag("dl", "".join(tag("dt", name) + tag("dd", text)
                                   for name, text in figures(result)))
               + (tag("ul", logs) if logs else tag("p", "no log", class_="quiet")),
               class_="panel")


def chip(result, named):
    """A result as a few letters, and more on demand. named: whether its transition is said."""
    words = [SIGNS[result.outcome], *([result.transition] if named else []),
             f"{result.seconds:.1f} s" if result.outcome == "passed" else result.outcome]
    label = f"{result.machine}, {result.transition}: {result.outcome}"
    return tag("details", tag("summary", " ".join(words), aria_label=label) + panel(result),
               class_=result.outcome, name="result", id=anchor(result),
               data_transition=result.transition, data_outcome=result.outcome)


def row(machine, own, rest):
    """The row of a machine, of its results."""
    first = machine[0]
    places = {result.transition: result for result in machine}
    kernel = "without the series" if first.kernel == "base" else ""
    about = " · ".join(filter(None, (first.level, first.config, kernel)))
    cells = [tag("th", tag("b", html.escape(first.machine)) + tag("small", html.escape(about)),
                 scope="row")]
    cells += [tag("td", chip(places[name], False) if name in places else "") for name in own]
    if rest:
        cells.append(tag("td", " ".join(chip(places[name], True)
                                        for name in rest if name in places)))
    return tag("tr", "".join(cells), data_machine=f"{first.machine} {about}".lower(),
               data_base=first.base, data_level=first.level)


def grouped(found, key):
    """{value of this attribute: results}"""
    groups = {}
    for result in found:
        groups.setdefault(getattr(result, key), []).append(result)
    return groups


def table(found, transitions):
    """All rows, those of a base together."""
    own, rest = columns(found, transitions)
    head = tag("tr", "".join(tag("th", name, scope="col")
                             for name in ["machine", *own, *(["others"] if rest else [])]))
    bodies = []
    for base, results in grouped(found, "base").items():
        title = tag("tr", tag("th", base, scope="rowgroup", colspan=len(own) + 1 + bool(rest)))
        bodies.append(tag("tbody", title + "\n".join(
            row(machine, own, rest) for machine in grouped(results, "machine").values())))
    return tag("table", tag("thead", head) + "\n".join(bodies))


def run(base, results, when):
    """How the run of a base went. when: its time, as text."""
    count = collections.Counter(result.outcome for result in results)
    present = [outcome for outcome in SIGNS if count[outcome]]
    machines = len(grouped(results, "machine"))
    bar = "".join(tag("span", "", class_=outcome, style=f"flex: {count[outcome]}")
                  for outcome in reversed(present))
    words = " · ".join(tag("span", f"{SIGNS[outcome]} {count[outcome]} {outcome}", class_=outcome)
                       for outcome in present)
    return tag("section", tag("h2", base) + tag("div", bar, class_="bar") + tag("p", words)
               + tag("p", f"{len(results)} results on {machines} machines, {when}",
                     class_="quiet"), class_="run")


def failures(found):
    """What failed, with the reason; nothing if nothing failed."""
    lines = "".join(tag("li", tag("a", html.escape(f"{result.base} {result}"),
                                  href=f"#open={anchor(result)}")
                        + f": {reason(result)}")
                    for result in found if result.outcome == "failed")
    return lines and tag("section", tag("h2", "What failed") + tag("ul", lines), class_="look")


def pills(legend, name, values):
    """Boxes to choose values by; nothing if there is no choice."""
    if len(values) < 2:
        return ""
    return tag("fieldset", tag("legend", legend) + "".join(
        tag("label", f'<input type="checkbox" name="{name}" value="{html.escape(value)}">'
            + html.escape(value)) for value in values))


def filters(found, transitions):
    """What chooses the results that are shown."""
    def values(key):
        return list(dict.fromkeys(getattr(result, key) for result in found))

    present = set(values("transition"))
    options = tag("option", "all", value="") + "".join(
        tag("option", name, value=name) for name in transitions if name in present)
    return tag("form", pills("base", "base", values("base"))
               + pills("level", "level", values("level"))
               + pills("outcome", "outcome", [name for name in SIGNS if name in values("outcome")])
               + tag("label", "transition " + tag("select", options, name="transition"),
                     class_="field")
               + tag("label", 'machine <input type="search" name="text">', class_="field")
               + tag("button", "show all", type="reset"))


def document(found, transitions, times):
    """The page. found: grid.Result each, in order; times: {base: when it was run}."""
    keys = "".join(tag("p", tag("span", f"{sign} {outcome}", class_=outcome)
                       + f": {MEANING[outcome]}") for outcome, sign in SIGNS.items())
    body = (tag("h1", "Machines and hand-overs")
            + tag("p", "A row is a machine of lab/machines.cfg, a column what it did. "
                  "Open a result for its figures and its log.", class_="quiet")
            + tag("div", "".join(run(base, results, times[base]) for base, results
                                 in grouped(found, "base").items()), class_="runs")
            + failures(found) + filters(found, transitions)
            + tag("p", "", id="shown", role="status", class_="quiet")
            + table(found, transitions)
            + tag("p", "No result is like that.", id="nothing", hidden="hidden")
            + tag("footer", keys + tag("p", KEYS)))
    style, script = ((HERE / name).read_text() for name in ("matrix.css", "matrix.js"))
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Machines and hand-overs</title>\n<style>\n{style}</style></head>\n"
            f"<body>{body}\n<script>\n{script}</script></body></html>\n")
