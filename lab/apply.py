# SPDX-License-Identifier: GPL-2.0-only
"""make apply: put the series on a new branch of a user's tree, or list all problems.

The whole series is rehearsed before anything is written to the tree. The rehearsal applies one hunk
after the other, and goes on after a conflict. Its index and its object store are temporary. A hunk
whose lines are not in the file is tried with less context. It applies if exactly one place fits.

A file with CRLF line ends is rehearsed as if it had LF, because output() reads every line end as
LF. So the other conflicts of that file are listed too.
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
LEAST = 1       # lines of context; without context, a hunk would fit at any place
# The files that the series replaces, with git's hashes of their contents in v5.10.y. From v5.10.13
# to v5.10.262 the content is the same.
REPLACED = {"arch/arm64/kernel/relocate_kernel.S": {"84eec95ec06cc576de1f54b2d41b96bec4989e2e"}}
# Where the kernel declares the names that its files share.
CAPABILITIES = "arch/arm64/tools/cpucaps"
HEADERS = ("include", "arch/arm64/include", "arch/arm64/mm/*.h", "kernel/*.h")
# {name that the series needs: what other trees have instead}, as far as that is known
INSTEAD = {
    "__flush_dcache_area": "newer kernels have dcache_clean_inval_poc(start, end) instead, with "
                           "an end where this has a size",
}
# Options of kernels that concern the series: {option: (the file that declares it, what it does)}
OPTIONS = {
    "CFI_CLANG": ("arch/Kconfig", "the compiler can check indirect calls. The series works with "
                  "it, because its jumps are in assembly"),
    "KFENCE": ("lib/Kconfig.kfence", "it removes pages from the linear map. The series works with "
               "it, because its copy has these pages"),
}


class Hunk(typing.NamedTuple):
    """A change of some lines of one file."""
    start: int      # index of its first line in the base's file, after the earlier patches
    lines: list     # each begins with ' ', '-' or '+'
    where: str      # the function that it is in, by the diff

    def side(self, sign):
        """Its lines before ('-') or after ('+') the change."""
        return [line[1:] for line in self.lines if line[0] in (sign, " ")]

    def grows(self):
        """How many lines it adds to a file. Negative if it removes more than it adds."""
        return len(self.side("+")) - len(self.side("-"))

    def numbers(self, old):
        """The numbers of its lines after the change. old: their numbers before it. A kept line
        keeps its number. A new line has None."""
        rest = iter(old)
        new = [(line[0], None if line[0] == "+" else next(rest)) for line in self.lines]
        return [number for sign, number in new if sign != "-"]

    def context(self):
        """(lines of context at its begin, lines of context at its end)."""
        changed = [i for i, line in enumerate(self.lines) if line[0] != " "]
        return changed[0], len(self.lines) - 1 - changed[-1]

    def cut(self, most):
        """The same hunk with at most so many lines of context at each end."""
        lead, trail = (max(0, count - most) for count in self.context())
        return Hunk(self.start + lead, self.lines[lead:len(self.lines) - trail], self.where)

    def places(self, text):
        """The indexes in a file's lines at which the hunk applies."""
        old = self.side("-")
        lead, trail = self.context()
        found = [i for i in range(len(text) - len(old) + 1) if text[i:i + len(old)] == old]
        # A hunk without context at an end is at the begin or at the end of its file.
        if not lead:
            found = [i for i in found if not i]
        if not trail:
            found = [i for i in found if i + len(old) == len(text)]
        return found

    def find(self, text, drift):
        """(index in a file's lines or None, lines of context that it matched with, number of places
        that fit). With all of its context, the hunk applies at the place that is nearest to its
        line number, as in git am. With less context, it applies only if there is one place."""
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
        """(the first line of the hunk that a file lacks, the index of the file's line in its
        place). The hunk is compared where most of its lines match. None if at most half match."""
        old = self.side("-")
        place = max(range(len(text)), default=0, key=lambda at: sum(
            line == there for line, there in zip(old, text[at:at + len(old)])))
        begin = max(0, place - len(old))
        codes = difflib.SequenceMatcher(
            None, old, text[begin:place + 2 * len(old)], autojunk=False).get_opcodes()
        if 2 * sum(end - first for tag, first, end, *_ in codes if tag == "equal") <= len(old):
            return None
        # Lines before the first line of the hunk, or after its last one, do not matter.
        return next(((old[first], begin + at) for tag, first, end, at, _ in codes
                     if tag != "equal" and (first, end) not in ((0, 0), (len(old),) * 2)
                     and begin + at < len(text)), None)


def hunks_of(diff):
    """[(file, [Hunk])] for the text of a diff."""
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
    """The line of the user's file at an index, in words. If the series has added that line, the
    next line of the user's file is meant."""
    number = next(filter(None, numbers[max(0, at):]), None)
    return f"line {number} of your file" if number else "the end of your file"


class Rehearsal:
    """Applies patches to git's index hunk by hunk, and keeps lists of the problems."""

    def __init__(self):
        self.lacks = []         # what the series needs and the tree does not have, a text each
        self.line_ends = []     # names of files with CRLF line ends
        self.conflicts = []     # a text each
        self.follow = 0         # hunks that fail because an earlier hunk has failed
        self.reduced = []       # hunks that applied with less context, a text each
        self.lacking = {}       # {file: [[first, last]] of failed hunks, counted as Hunk.start}
        self.numbers = {}       # {file: the number of each line in the user's file, None if new}

    def put(self, git, patch):
        """Apply a patch to git's index, hunk by hunk."""
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
        """Check a whole file. A file that the series replaces must be the same as in v5.10.y. A
        file that the series adds must not exist."""
        found = git("ls-files", "-s", "--", name)
        if name in REPLACED and not found:
            say(f"note: {name}, which the series replaces, is not in the tree")
        elif name in REPLACED and git("hash-object", "--stdin", stdin=git(
                "show", f":{name}")).strip() not in REPLACED[name]:
            self.conflicts.append(f"{patch.path.name}: {name}: the series replaces this file, but "
                                  "your tree has changed it")
        elif name not in REPLACED and found:
            self.conflicts.append(f"{patch.path.name}: {name}: the series adds this file, but your "
                                  "tree has one already")

    def put_file(self, label, name, hunks, text):
        """Apply the hunks of a file to its lines."""
        drift = 0       # how much larger a line's index is here than Hunk.start
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
            # The line numbers of all hunks are those before this patch.
            drift = place - cut.start + cut.grows()
        starts = [hunk.start for hunk in hunks]

        def after(line):
            """The index of a line after this patch. line: its index before it."""
            return line + sum(hunk.grows() for hunk in hunks[:bisect.bisect_left(starts, line)])

        self.lacking[name] = [[after(first), after(last)] for first, last in lacking] + [
            [after(hunk.start), after(hunk.start) + max(len(hunk.side("-")), len(hunk.side("+")))]
            for hunk in failed]

    def problems(self):
        """All problems, a text each."""
        found = [*self.lacks, *self.conflicts]
        if self.line_ends:
            found.append(f"{', '.join(self.line_ends)}: CRLF line ends")
        if self.follow:
            found.append(f"and {counted(self.follow, 'hunk')} of later patches, in the same lines")
        return found

    def advice(self, where):
        """What the user can do about the problems, a line of text each. where: the tree."""
        keep = f"make apply LINUX={where} KEEP=1"
        if self.line_ends:
            names = shlex.join(self.line_ends)
            yield ("Convert the line ends first, in the tree: "
                   rf"sed -i 's/\r$//' {names} && git commit -m 'LF line ends' {names}")
        if self.conflicts:
            yield f"To resolve the conflicts: {keep}; git am -3 then stops at each of them."
        if self.lacks:
            yield ("For a name that your tree does not have: add it to your tree first. Or run "
                   f"{keep}, and then use your tree's own name in the file of the series.")


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
# Keywords of C, symbols of Kconfig, names that macros make from parts, and an enum
NOT_NAMES = re.compile(r"sizeof|volatile|CONFIG_\w+|Page[A-Z]\w+|TRANS_PGD_\w+")


def names():
    """{name: files of the series that use it} of the functions and constants that the tree has to
    have. These are the names that the series calls, or that are in capitals, and that it does not
    define. The series' own tests are left out, because they are not needed on a tree."""
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
    """The names that the series needs and the tree's HEAD does not have, a line of text each."""
    needed = names()
    found = set(git("grep", "-h", "-o", "-w", "-F", *(f"-e{name}" for name in needed), "HEAD",
                    "--", *HEADERS, *sorted(tree.SERIES.touched()), ok=(0, 1)).split())
    # Since v5.13, the build makes the header with these names from a list.
    found |= {f"ARM64_{name}" for name in
              git("grep", "-h", "-E", "^[A-Z0-9_]+\r?$", "HEAD", "--", CAPABILITIES,
                  ok=(0, 1)).split()}
    return [f"{', '.join(needed[name])} of the series: no {name} in the tree"
            + (f"; {INSTEAD[name]}" if name in INSTEAD else "")
            for name in sorted(needed) if name not in found]


def notes(git):
    """What the user should know about OPTIONS that the tree has, a line of text each."""
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
    """Make the commits of the series on the tree's HEAD, in a temporary object store. So the tree
    does not even get a loose object. Say what the user should know, and return the Rehearsal."""
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
    stops at each conflict, for the user to resolve."""
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
    # KEEP=1 does not help with CRLF: git am cannot merge a file in which every line differs.
    if problems and not keep or rehearsal.line_ends:
        raise LabError("\n  ".join([
            f"the series does not apply to {source}, which is unchanged:", *problems,
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
    """Begin git am -3 on a new branch. It needs the base's files to merge, so these are fetched
    from the bundle of the mails first."""
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
