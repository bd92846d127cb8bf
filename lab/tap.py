# SPDX-License-Identifier: GPL-2.0-only
"""A parser of TAP, which tests in the guest print, in the dialects of the kernels. KUnit's TAP is
nested and in the middle of the kernel's log. v6.12 and v7.3 call it KTAP. The kselftest harness of
v5.10 names a skipped test only in a comment."""

import re
import typing

from lab.util import LabError

KERNEL_TIME = re.compile(r"^\[ *\d+\.\d+\]\s?", re.MULTILINE)
BEGIN = re.compile(r"( *)K?TAP version \d+\s*$")
PLAN = re.compile(r"( *)1\.\.(\d+)\s*$")
RESULT = re.compile(r"( *)(not )?ok (\d+) (?:- )?([^#]*?)\s*(?:#\s*(.*?))?\s*$")
SKIP = re.compile(r"SKIP\b:?\s*(.*)", re.IGNORECASE)
ABOUT = re.compile(r"\s*# (?:Subtest|module|is_init): ")
NOTE = re.compile(r"\s*#|\s{4}")
CASE = 4                        # columns that a case is indented by; a parameter's is by more
FLAT_RESULT = re.compile(r"^(not ok|ok) (\d+)(?: - | )?(.*)$")
FLAT_PLAN = re.compile(r"^1\.\.(\d+)\b(?: # SKIP (.*))?$")
# v5.10's kselftest_harness.h does not name a skipped test in its result, but here, before it runs.
RUNS = re.compile(r"^#\s+RUN\s+(\S+) \.\.\.$")

NOTHING = re.compile(r"no table's worth of usable memory|: virt_to_phys\(\) is checked")


class Result(typing.NamedTuple):
    """One line "ok" or "not ok"."""
    name: str
    ok: bool
    detail: str             # of the line itself, "SKIP why", and what was said before it
    depth: int              # columns that it is indented by; a subtest is by more
    skipped: str | None     # why, which may be nothing; None: it was not

    @property
    def tried(self):
        """Whether the case has run. A case of the series is skipped if the machine lacks what it
        needs."""
        return self.skipped is None and not NOTHING.search(self.detail)


def kunit(text):
    """The results in a console's text, in their order.

    Lines that are no TAP are passed over. LabError: fewer or more results than the
    plan says ("1..39"), or a number out of order.
    """
    found, notes, levels = [], [], {}       # levels: {columns: [planned or None, seen]}

    def close(depth):
        """The levels this deep, or deeper, have come to their end."""
        for column in [column for column in levels if column >= depth]:
            planned, seen = levels.pop(column)
            if planned not in (None, seen):
                raise LabError(f"TAP: {seen} results where {planned} were planned")

    for line in KERNEL_TIME.sub("", text).splitlines():
        if match := BEGIN.match(line):
            close(len(match[1]))
            levels[len(match[1])] = [None, 0]
        elif match := PLAN.match(line):
            if levels.get(len(match[1])) != [None, 0]:
                close(len(match[1]))
            levels[len(match[1])] = [int(match[2]), 0]
        elif match := RESULT.match(line):
            depth = len(match[1])
            close(depth + 1)
            if depth in levels:
                levels[depth][1] += 1
                if levels[depth][1] != int(match[3]):
                    raise LabError(f"TAP: '{line.strip()}' is number {levels[depth][1]}")
            said = [match[5]] if match[5] else []
            skip = SKIP.match(match[5] or "")
            found.append(Result(match[4], not match[2], "\n".join(said + notes), depth,
                                skip[1] if skip else None))
            notes = []
        elif NOTE.match(line) and not ABOUT.match(line):
            notes.append(line.strip())
    close(0)
    return found


def kselftest(text):
    """[(name, whether it is ok, why it was skipped or None)], in order.

    A test that is missing in the end, by the plan, is in the list as one that is not ok.
    """
    results, planned, runs = [], None, None
    for line in text.splitlines():
        if match := RUNS.match(line):
            runs = match[1]
        elif match := FLAT_PLAN.match(line):
            planned = int(match[1])
            if match[2]:
                results.append(("all", True, match[2]))
                planned = 1
        elif match := FLAT_RESULT.match(line):
            name, _, directive = match[3].partition("# ")
            word, _, reason = directive.partition(" ")
            results.append((name.strip() or runs or f"test {match[2]}", match[1] == "ok",
                            reason.strip() or "no reason" if word.upper() == "SKIP" else None))
    if planned is None:
        return [*results, ("plan", False, None)]
    return results + [(f"test {number}", False, None)
                      for number in range(len(results) + 1, planned + 1)]
