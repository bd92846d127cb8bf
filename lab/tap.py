# SPDX-License-Identifier: GPL-2.0-only
"""The results that kernel tests print, as the Test Anything Protocol has them."""

import re

RESULT = re.compile(r"^(not ok|ok) (\d+)(?: - | )?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)\b(?: # SKIP (.*))?$")
# kselftest_harness.h does not name a skipped test in its result, but here, before it runs.
RUNS = re.compile(r"^#\s+RUN\s+(\S+) \.\.\.$")


def parse(text):
    """[(name, whether it is ok, why it was skipped or None)], in order.

    A test that is missing in the end, by the plan, is in the list as one that is not ok.
    """
    results, planned, runs = [], None, None
    for line in text.splitlines():
        if match := RUNS.match(line):
            runs = match[1]
        elif match := PLAN.match(line):
            planned = int(match[1])
            if match[2]:
                results.append(("all", True, match[2]))
                planned = 1
        elif match := RESULT.match(line):
            name, _, directive = match[3].partition("# ")
            word, _, reason = directive.partition(" ")
            results.append((name.strip() or runs or f"test {match[2]}", match[1] == "ok",
                            reason.strip() or "no reason" if word.upper() == "SKIP" else None))
    if planned is None:
        return [*results, ("plan", False, None)]
    return results + [(f"test {number}", False, None)
                      for number in range(len(results) + 1, planned + 1)]
