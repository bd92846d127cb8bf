# SPDX-License-Identifier: GPL-2.0-only
"""make apply: put the series on a new branch of a user's tree, or list all that is in the way.

The whole series is rehearsed before anything is written to the tree. The rehearsal goes hunk by
hunk, and goes on after a conflict. Its index and its object store are thrown away. A hunk whose
lines are not there is tried with less context. It is taken if exactly one place fits.

Files with CRLF line ends are rehearsed as if they had LF: output() reads every line end as LF.
So their other conflicts are found in the same run.
"""

import bisect
import collections
import difflib
import os
import re
import shlex
import tempfile
import typing

from lab import tree
from lab.here import BASE, HERE
from lab.options import option
from lab.sources import base_source, debian_source
from lab.util import LabError, counted, main, output, say

BRANCH = f"{tree.BRANCH}-{BASE.name}"
MAILS = HERE / "apply"
LEAST = 1       # lines of context; without any, a hunk would go anywhere
# The files that the series replaces, as v5.10.y has had them: git's hash of the content. From
# v5.10.13 to v5.10.262 there is one.
REPLACED = {"arch/arm64/kernel/relocate_kernel.S": {"84eec95ec06cc576de1f54b2d41b96bec4989e2e"}}
# Where names are declared that one file of the kernel takes from another.
CAPABILITIES = "arch/arm64/tools/cpucaps"
HEADERS = ("include", "arch/arm64/include", "arch/arm64/mm/*.h", "kernel/*.h")
# What trees have instead, where that is known.
INSTEAD = {
    "__flush_dcache_area": "newer kernels have dcache_clean_inval_poc(start, end) instead, with "
                           "an end where this has a size",
}
# What changes something that the series relies on, by the line of the tree that tells.
OPTIONS = {
    "CFI_CLANG": ("arch/Kconfig", "the compiler can check indirect calls; the series works with "
                  "it, for assembly makes its jumps"),
    "KFENCE": ("lib/Kconfig.kfence", "it hides pages from the linear map; the series works with "
               "it, for its copy maps them"),
}


class Hunk(typing.NamedTuple):
    """A change of some lines of one file."""
    start: int      # the first of its lines in the file that the series knows, from 0
    lines: list     # with their ' ', '-' or '+'
    where: str      # what the diff says of the place

    def side(self, sign):
        """Its lines before ('-') or after ('+') the change."""
        return [line[1:] for line in self.lines if line[0] in (sign, " ")]

    def grows(self):
        """How many lines a file has more after the change."""
        return len(self.side("+")) - len(self.side("-"))

    def numbers(self, old):
        """The numbers of its lines after the change: of each kept line what it was, of each new
        line None. old: those before the change."""
        rest = iter(old)
        new = [(line[0], None if line[0] == "+" else next(rest)) for line in self.lines]
        return [number for sign, number in new if sign != "-"]

    def context(self):
        """How many lines at its begin and at its end are context."""
        changed = [i for i, line in enumerate(self.lines) if line[0] != " "]
        return changed[0], len(self.lines) - 1 - changed[-1]

    def cut(self, most):
        """The same with at most so many lines of context on each side."""
        lead, trail = (max(0, count - most) for count in self.context())
        return Hunk(self.start + lead, self.lines[lead:len(self.lines) - trail], self.where)

    def places(self, text):
        """Where in a file's lines all its lines are, as they are before the change."""
        old = self.side("-")
        lead, trail = self.context()
        found = [i for i in range(len(text) - len(old) + 1) if text[i:i + len(old)] == old]
        # A diff has no context only where the file begins or ends.
        if not lead:
            found = [i for i in found if not i]
        if not trail:
            found = [i for i in found if i + len(old) == len(text)]
        return found

    def find(self, text, drift):
        """(its place in a file's lines or None, the lines of context that it took, how many places
        there are). With all its context it goes to the place nearest to its line number, as git am
        does. With less context it goes to a place only if that is the only one."""
        full = max(self.context())
        for context in range(full, LEAST - 1, -1):
            cut = self.cut(context)
            found = cut.places(text)
            if found and context == full:
                return min(found, key=lambda i: abs(i - cut.start - drift)), context, 1
            if found:
                return found[0] if len(found) == 1 else None, context, len(found)
        return None, full, 0

    def differs(self, text):
        """(its first line that a file's lines do not have, the index of the line that they have
        there). The place is where most of its lines are; None if that is no more than half."""
        old = self.side("-")
        place = max(range(len(text)), default=0, key=lambda at: sum(
            line == there for line, there in zip(old, text[at:at + len(old)])))
        begin = max(0, place - len(old))
        codes = difflib.SequenceMatcher(
            None, old, text[begin:place + 2 * len(old)], autojunk=False).get_opcodes()
        if 2 * sum(end - first for tag, first, end, *_ in codes if tag == "equal") <= len(old):
            return None
        # What is inserted before the first line or after the last one is the rest of the file.
        return next(((old[first], begin + at) for tag, first, end, at, _ in codes
                     if tag != "equal" and (first, end) not in ((0, 0), (len(old),) * 2)
                     and begin + at < len(text)), None)


def hunks_of(diff):
    """[(file, [Hunk])] of a diff."""
    files = []
    for part in re.split(r"^diff --git .*\n", diff, flags=re.MULTILINE)[1:]:
        head, *rest = re.split(r"^(@@ .*)\n", part, flags=re.MULTILINE)
        hunks = []
        for title, body in zip(rest[::2], rest[1::2]):
            start, where = re.match(r"@@ -(\d+)(?:,\d+)? \+\S+ @@ ?(.*)", title).groups()
            lines = [line or " " for line in body.removesuffix("\n").split("\n")]
            hunks.append(Hunk(max(0, int(start) - 1), lines, where))
        files.append((re.search(r"^\+\+\+ b/(.+)$", head, re.MULTILINE)[1], hunks))
    return files


def line_of(numbers, at):
    """Which line of the tree's own file is at an index, in words. Of a line that the series has
    added, it is the next one."""
    number = next(filter(None, numbers[max(0, at):]), None)
    return f"line {number} of your file" if number else "the end of your file"


class Rehearsal:
    """Puts patches into git's index as far as they apply, and keeps a list of what does not."""

    def __init__(self):
        self.lacks = []         # what the series needs and the tree has not, a line of text each
        self.line_ends = []     # files with CRLF line ends
        self.conflicts = []     # a text each
        self.follow = 0         # hunks that lack what a conflict has kept out
        self.reduced = []       # a line of text each
        self.lacking = {}       # file: [first, last] lines that it lacks, as the series counts
        self.numbers = {}       # file: for each line, its number in the tree; None: the series'

    def put(self, git, patch):
        """Put a patch into git's index, hunk by hunk."""
        for name in patch.files:
            self.whole_file(git, patch, name)
        for name, hunks in hunks_of(patch.diff()):
            mode = git("ls-files", "-s", "--", name)[:6]
            if mode:
                text = git("show", f":{name}")
                lines = text.removesuffix("\n").split("\n")
                self.put_file(f"{patch.path.name}: {name}", name, hunks, lines)
                text = "\n".join(lines) + ("\n" if text.endswith("\n") else "")
                blob = git("hash-object", "-w", "--stdin", stdin=text).strip()
                git("update-index", "--cacheinfo", f"{mode},{blob},{name}")
            elif name in self.lacking:
                self.follow += len(hunks)
            else:
                self.conflicts.append(f"{patch.path.name}: {name}: the tree has no such file")
                self.lacking[name] = []

    def whole_file(self, git, patch, name):
        """A file that the series replaces must be as v5.10.y has it. A file that the series adds
        must not exist."""
        found = git("ls-files", "-s", "--", name)
        if name in REPLACED and not found:
            say(f"note: {name}, which the series replaces, is not in the tree")
        elif name in REPLACED and git("hash-object", "--stdin", stdin=git(
                "show", f":{name}")).strip() not in REPLACED[name]:
            self.conflicts.append(f"{patch.path.name}: {name}: the series replaces this file, and "
                                  "the tree has changes of its own there")
        elif name not in REPLACED and found:
            self.conflicts.append(f"{patch.path.name}: {name}: the series adds this file, and the "
                                  "tree has one already")

    def put_file(self, label, name, hunks, text):
        """Put the hunks of a file into its lines."""
        drift = 0       # of the file against the one that the series knows
        lacking = self.lacking.setdefault(name, [])
        numbers = self.numbers.setdefault(name, [*range(1, len(text) + 1)])
        failed = []
        for number, hunk in enumerate(hunks, 1):
            place, context, places = hunk.find(text, drift)
            what = f"{label}: hunk {number} of {len(hunks)}"
            if place is None:
                failed.append(hunk)
                end = hunk.start + len(hunk.side("-"))
                if any(first <= end and hunk.start <= last for first, last in lacking):
                    self.follow += 1
                    continue
                line, at = hunk.differs(text) or (None, hunk.start + drift)
                self.conflicts.append(
                    what + (f", after '{hunk.where}'" if hunk.where else "")
                    + f", near {line_of(numbers, at)}: "
                    + (f"with {counted(context, 'line')} of context it fits {places} places"
                       if places else "its lines are not there")
                    + (f"\n    expected: {line!r}\n    found:    {text[at]!r}" if line else ""))
                continue
            if context < max(hunk.context()):
                self.reduced.append(f"{what}, at {line_of(numbers, place)}: "
                                    f"{counted(context, 'line')} of context instead of "
                                    f"{max(hunk.context())}")
            cut = hunk.cut(context)
            end = place + len(cut.side("-"))
            numbers[place:end] = cut.numbers(numbers[place:end])
            text[place:end] = cut.side("+")
            # Hunks count their lines before this patch.
            drift = place - cut.start + cut.grows()
        starts = [hunk.start for hunk in hunks]

        def after(line):
            """A line from before this patch, as it is counted after it."""
            return line + sum(hunk.grows() for hunk in hunks[:bisect.bisect_left(starts, line)])

        self.lacking[name] = [[after(first), after(last)] for first, last in lacking] + [
            [after(hunk.start), after(hunk.start) + max(len(hunk.side("-")), len(hunk.side("+")))]
            for hunk in failed]

    def problems(self):
        """All that is in the way of the series, a text each."""
        found = [*self.lacks, *self.conflicts]
        if self.line_ends:
            found.append(f"{', '.join(self.line_ends)}: CRLF line ends")
        if self.follow:
            found.append(f"and {counted(self.follow, 'hunk')} of later patches, for the same lines")
        return found

    def advice(self, where):
        """What the user of the tree `where` can do about it, a line of text each."""
        keep = f"make apply LINUX={where} KEEP=1"
        if self.line_ends:
            names = shlex.join(self.line_ends)
            yield ("Convert the line ends first, in the tree: "
                   rf"sed -i 's/\r$//' {names} && git commit -m 'LF line ends' {names}")
        if self.conflicts:
            yield f"To resolve the conflicts: {keep}; git am -3 then stops at each of them."
        if self.lacks:
            yield ("What the tree does not have: put it there under that name first, or take the "
                   f"tree's own in the file of the series after {keep}.")


def code(text):
    """C or assembly without its comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.DOTALL)


DEFINED = re.compile(r"""
    ^\s*(?:\#\s*define|\.macro|SYM_\w+\()\s*(\w+)     # a macro, a symbol of assembly
    | ^\s*DEFINE\((\w+)                                 # a constant that assembly gets
    | ^(?:\w[\w *]*[ *])?(\w+)\(                        # a function
    | [(*](\w+)\)\(                                     # a pointer to one
    """, re.MULTILINE | re.VERBOSE)
CALLED = re.compile(r"\b([A-Za-z_]\w{3,})\(")
CONSTANT = re.compile(r"(?<![.\w])[A-Z][A-Z0-9]*_\w+")
# Words of the language, what Kconfig sets, what macros put together from parts, and an enum.
NOT_NAMES = re.compile(r"sizeof|volatile|CONFIG_\w+|Page[A-Z]\w+|TRANS_PGD_\w+")


def names():
    """{name: files of the series} of the functions and constants that the series needs from the
    tree: names that its code calls, or that are in capitals, and that it does not define. The
    tests of the library are left out, because a tree can do without them."""
    used, own = collections.defaultdict(set), set()
    for patch in tree.SERIES.patches():
        texts = {name: tree.SERIES.whole(name).read_text() for name in patch.files}
        for name, hunks in hunks_of(patch.diff()):
            texts[name] = "\n".join(line[1:] for hunk in hunks for line in hunk.lines
                                    if line[0] == "+")
        for name, text in texts.items():
            if name.startswith("tools/") or not name.endswith((".c", ".h", ".S")):
                continue
            text = code(text)
            own |= {word for words in DEFINED.findall(text) for word in words}
            if name.endswith(("_test.c", "_test.h")):
                continue
            found = CONSTANT.findall(text)
            if not name.endswith(".S"):
                found += CALLED.findall(text)
            for word in found:
                used[word].add(name)
    return {word: sorted(files) for word, files in used.items()
            if word not in own and not NOT_NAMES.fullmatch(word)}


def missing(git):
    """What the series needs and the tree's HEAD does not have, a line of text each."""
    needed = names()
    found = set(git("grep", "-h", "-o", "-w", "-F", *(f"-e{name}" for name in needed), "HEAD",
                    "--", *HEADERS, *sorted(tree.SERIES.touched()), ok=(0, 1)).split())
    # The header that has these is made of a list, since v5.13.
    found |= {f"ARM64_{name}" for name in
              git("grep", "-h", "-E", "^[A-Z0-9_]+\r?$", "HEAD", "--", CAPABILITIES,
                  ok=(0, 1)).split()}
    return [f"{', '.join(needed[name])} of the series: no {name} in the tree"
            + (f"; {INSTEAD[name]}" if name in INSTEAD else "")
            for name in sorted(needed) if name not in found]


def notes(git):
    """What in the tree changes something that the series relies on, a line of text each."""
    return [f"the tree has CONFIG_{name}: {what}" for name, (file, what) in OPTIONS.items()
            if git("grep", "-l", rf"^\(menu\)*config {name}$", "HEAD", "--", file, ok=(0, 1))]


def crlf(git):
    """The files with CRLF line ends, of those that the series changes or replaces."""
    return [line.partition(":")[2] for line in git(
        "grep", "-l", "-I", "\r$", "HEAD", "--", *sorted(tree.SERIES.touched()),
        ok=(0, 1)).splitlines()]


def need_tree(git, source):
    """Stop unless `source` is a git tree that can have the series on a new branch."""
    if not (source / ".git").exists():
        raise LabError(f"{source} is not a git tree; make it one (git init; git add -A; "
                       "git commit) so that the series can be a branch of it")
    adds = {name for patch in tree.SERIES.patches() for name in patch.files} - set(REPLACED)
    if all((source / name).exists() for name in adds):
        raise LabError(f"{source}: the series is there already")
    if git("status", "--porcelain", "--untracked-files=no"):
        raise LabError(f"{source} has changes that are not committed; commit or stash them first")
    if git("branch", "--list", BRANCH):
        raise LabError(f"{source} has a branch {BRANCH} already; delete or rename it first")


def rehearse(git, source, who):
    """Put the series on the tree's HEAD in an object store that is thrown away, so the tree does
    not even get a loose object. Say what the user should know, and return the Rehearsal."""
    for line in notes(git):
        say(f"note: {line}")
    say(f"rehearsing the series on {source}")
    rehearsal = Rehearsal()
    rehearsal.lacks, rehearsal.line_ends = missing(git), crlf(git)
    store = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory() as scratch:
        tree.commit_series(source, git("rev-parse", "HEAD"), who, env={
            "GIT_OBJECT_DIRECTORY": scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES": store},
            put=rehearsal.put)
    for line in rehearsal.reduced:
        say(f"note: {line}")
    return rehearsal


def apply(where, keep=False):
    """Put the series on a new branch of a user's tree, or change nothing. With `keep`, git am
    stops where the user has to resolve."""
    if not where:
        raise LabError("say which tree: make apply LINUX=DIR")
    source = base_source()

    def git(*args, ok=(0,)):
        return output(["git", *args], cwd=source, ok=ok).strip()

    need_tree(git, source)
    who = tree.user(source)
    back = git("symbolic-ref", "-q", "--short", "HEAD", ok=(0, 1)) or git("rev-parse", "HEAD")
    rehearsal = rehearse(git, source, who)
    problems = rehearsal.problems()
    # git am cannot merge a file whose lines all differ.
    if problems and not keep or rehearsal.line_ends:
        raise LabError("\n  ".join([
            f"{source} is as it was, for the series does not go onto it:", *problems,
            *rehearsal.advice(where)]))
    for line in problems:
        say(f"to resolve: {line}")
    if rehearsal.conflicts:
        resolve(git, source, who, back)
    else:
        head = tree.commit_series(source, git("rev-parse", "HEAD"), who, sign_off=True,
                                  put=Rehearsal().put)
        git("checkout", "-q", "-b", BRANCH, head)
    say(f"{source} is on the new branch {BRANCH}: {len(tree.SERIES.patches())} patches on {back}")


def resolve(git, source, who, back):
    """Begin git am -3 on a new branch. The bundle of the mails has the files that it merges
    with."""
    tree.tree(debian_source())
    mails = tree.all_mails(tree.write_mails(MAILS, who))
    git("fetch", "-q", "--no-tags", str(MAILS / "base.bundle"), tree.BUNDLED)
    git("checkout", "-q", "-b", BRANCH)
    try:
        git("am", "-q", "-3", *map(str, mails))
    except LabError as error:
        raise LabError("\n  ".join([
            f"{source} is on the new branch {BRANCH}, in the middle of git am:",
            *str(error).partition(": ")[2].splitlines()[:6],
            "Resolve what 'git status' there names, 'git add' it, and 'git am --continue', until "
            "git am is done.",
            f"To give up: git am --abort; git checkout {back}; git branch -D {BRANCH}"])) from None


def command(_words):
    """The series on a new branch of LINUX=DIR."""
    apply(os.environ.get("LINUX"), keep=option("KEEP", False))


if __name__ == "__main__":
    main(command)
