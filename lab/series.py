# SPDX-License-Identifier: GPL-2.0-only
"""How this repository keeps a series: patches/BASE, and the whole files that it adds.

patches/BASE/series orders the patches. A line names a patch and the whole files that the same
commit brings in from this repository; nothing stands in both. Such a file stands at its kernel
path, where bases share it, or below patches/BASE/files, where one has its own. KERNELPATH=PATH is
one that bases share and that has another kernel path here than there. Of a file that one base adds
and another has already, as mainline has a trans_pgd.c of its own, the other's series has patches.

A patch of another base that applies as it is stands there alone: a line OTHER/PATCH takes it, with
the whole files that OTHER's series names for it. Of such files too one below patches/BASE/files
comes first, and then one below patches/OTHER/files.

A line [NAME] begins a thread: patches that are sent by themselves, with a cover letter of their
own, patches/BASE/cover-letter.NAME. A line [] begins the one without a name, whose cover letter is
patches/BASE/cover-letter; a series without such lines is that one. The threads are sent in their
order, and each is on top of those before it.
"""

import hashlib
import os
import pathlib
import re
import typing

from lab.util import LabError


class Patch(typing.NamedTuple):
    """One commit of the series."""
    path: pathlib.Path      # the mail: message and changes to existing files
    files: list             # kernel paths of the whole files it brings in
    thread: str = ""        # the name of the thread that it is sent in

    def message(self):
        """The commit message: subject, blank line, body."""
        head, _, rest = self.path.read_text().partition("\n\n")
        if not head.startswith("Subject: "):
            raise LabError(f"{self.path} has to begin with a 'Subject:' line")
        return head[len("Subject: "):] + "\n\n" + rest.partition("\n---\n")[0].strip() + "\n"

    @property
    def subject(self):
        """The first line of the message."""
        return self.message().partition("\n")[0]

    def diff(self):
        """The changes to existing files, in git's format; may be empty."""
        return self.path.read_text().partition("\n---\n")[2]


class Commit(typing.NamedTuple):
    """What a commit of a kernel tree becomes when it is kept."""
    slug: str               # of its subject, for the name of the patch
    message: str
    diff: str               # of existing files; may be empty
    files: dict             # {kernel path of a whole file: (text, mode)}
    taken: pathlib.Path | None = None   # the patch of another base that is the same commit

    @property
    def subject(self):
        """The first line of the message."""
        return self.message.partition("\n")[0]

    def text(self):
        """What stands in its patch."""
        subject, _, body = self.message.partition("\n")
        return f"Subject: {subject}\n\n{body.strip()}\n---\n{self.diff}"


class Line(typing.NamedTuple):
    """A line of a series."""
    name: str               # of the patch, with the folder of another base in front
    files: list             # kernel paths of its whole files
    places: dict            # {kernel path: path in the repository}, where the line says both
    thread: str


def mode(path):
    """What git keeps of a file's mode."""
    return "100755" if os.access(path, os.X_OK) else "100644"


class Series(typing.NamedTuple):
    """The series of a base in a repository."""
    top: pathlib.Path       # of the repository
    base: str               # its name

    @property
    def folder(self):
        """Where the patches are."""
        return self.top / "patches" / self.base

    @property
    def order(self):
        """The file that orders them."""
        return self.folder / "series"

    def other(self, base):
        """The series of another base in the same repository."""
        return Series(self.top, base)

    def lines(self):
        """The lines that name patches; a base may have none yet."""
        found, thread = [], ""
        for line in self.order.read_text().splitlines() if self.order.is_file() else ():
            words = line.partition("#")[0].split()
            if words and (heading := re.fullmatch(r"\[(\w*)\]", words[0])):
                thread = heading[1]
                if thread in {line.thread for line in found}:
                    raise LabError(f"{self.order.relative_to(self.top)} begins [{thread}] twice")
            elif words:
                names = [word.partition("=")[::2] for word in words[1:]]
                found.append(Line(words[0], [name for name, _ in names],
                                  {name: place for name, place in names if place}, thread))
        return found

    def others(self):
        """The bases whose patches this series takes."""
        return sorted({base for line in self.lines() if (base := line.name.rpartition("/")[0])})

    def elsewhere(self):
        """{kernel path: path in the repository} of the files for which a line says both."""
        return {name: place for base in (*self.others(), self.base)
                for line in self.other(base).lines() for name, place in line.places.items()}

    def shared(self, name):
        """Where the whole file of a kernel path is, if bases share it."""
        return self.top / self.elsewhere().get(name, name)

    def whole(self, name):
        """Where the whole file of a kernel path is."""
        for base in (self.base, *self.others()):
            path = self.top / "patches" / base / "files" / name
            if path.is_file():
                return path
        return self.shared(name)

    def kept_at(self, name, content):
        """Where a whole file of this content is to be kept: never in another base's folder."""
        path = self.whole(name)
        own = self.folder / "files" / name
        if path in (own, self.shared(name)):
            return path
        return path if path.read_text() == content else own

    def every(self):
        """The series of the other bases."""
        return [self.other(path.parent.name)
                for path in sorted((self.top / "patches").glob("*/series")) if path != self.order]

    def drop(self, name):
        """A whole file is in the series no more: remove it, unless another base has it."""
        (self.folder / "files" / name).unlink(missing_ok=True)
        path = self.shared(name)
        if path not in {series.shared(name) for series in self.every()
                        for line in series.lines() for name in line.files}:
            path.unlink(missing_ok=True)

    def cover(self, thread=""):
        """(subject, text) of a thread's cover letter."""
        path = self.folder / ("cover-letter" + (f".{thread}" if thread else ""))
        if not path.is_file():
            raise LabError(f"{path.relative_to(self.top)} is not there, and it goes before "
                           f"{f'[{thread}]' if thread else 'the patches'} of "
                           f"{self.order.relative_to(self.top)}")
        subject, _, text = path.read_text().partition("\n")
        return subject.removeprefix("Subject: "), text.strip()

    def resolve(self, line):
        """The patch that a line names."""
        base, _, name = line.name.rpartition("/")
        if not base:
            return Patch(self.folder / name, line.files, line.thread)
        named = [found.files for found in self.other(base).lines() if found.name == name]
        if not named:
            raise LabError(f"{self.order.relative_to(self.top)} takes {line.name}, which "
                           f"patches/{base}/series does not name")
        return Patch(self.other(base).folder / name, named[0], line.thread)

    def patches(self):
        """The patches in their order; a base may have none yet."""
        found = [self.resolve(line) for line in self.lines()]
        for patch in found:
            for path in [patch.path, *map(self.whole, patch.files)]:
                if not path.is_file():
                    raise LabError(f"{self.order} names {path.relative_to(self.top)}, which is "
                                   "not there")
        listed = {patch.path for patch in found}
        for path in self.folder.glob("*.patch"):
            if path not in listed:
                raise LabError(f"{path.relative_to(self.top)} is in no line of "
                               f"{self.order.relative_to(self.top)}")
        return found

    def threads(self):
        """{name of a thread: its patches}, in their order."""
        found = {}
        for patch in self.patches():
            found.setdefault(patch.thread, []).append(patch)
        return found

    def takers(self):
        """The series of other bases that take patches of this one."""
        return [series for series in self.every() if self.base in series.others()]

    def state(self):
        """{name: mode and hash} of all that the commits are made from."""
        paths = [self.order] if self.order.is_file() else []
        for patch in self.patches():
            paths += [patch.path, *map(self.whole, patch.files)]
        return {str(path.relative_to(self.top)):
                f"{mode(path)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths}

    def touched(self):
        """Kernel paths of all that the series changes or adds."""
        return {name for patch in self.patches() for name in
                [*patch.files, *re.findall(r"^\+\+\+ b/(.+)$", patch.diff(), re.MULTILINE)]}

    def renamed(self, commits, names):
        """{patch: its new name} of the patches that other bases take, when these commits are
        kept under these names. LabError if one would be lost."""
        found = {}
        for series in self.takers():
            for line in series.lines():
                base, _, old = line.name.rpartition("/")
                if base != self.base:
                    continue
                patch = self.resolve(Line(old, [], {}, ""))
                if not patch.path.is_file():
                    raise LabError(f"{series.order.relative_to(self.top)} takes {line.name}, "
                                   "which is not there")
                own = [(name, commit) for name, commit in zip(names, commits)
                       if not commit.taken]
                same = ([name for name, commit in own if commit.subject == patch.subject] or
                        [name for name, commit in own if commit.diff == patch.diff()])
                if len(same) != 1:
                    raise LabError(
                        f"{series.order.relative_to(self.top)} takes {line.name}, and "
                        f"{'no commit has' if not same else 'several commits have'} its subject "
                        "or its diff now. Make it a patch of that base's own first: 'cp "
                        f"patches/{line.name} patches/{series.base}/', and drop '{base}/' from "
                        "that line")
                found[old] = same[0]
        return found

    def write(self, commits):
        """Keep these commits, in place of what is there."""
        before = self.patches()
        names = [f"{number:04d}-{commit.slug}.patch" for number, commit in enumerate(commits, 1)]
        renamed = self.renamed(commits, names)
        places = {name: f"{name}={place}" for name, place in self.elsewhere().items()}
        threads = follow(before, commits)
        kept = {name for commit in commits for name in commit.files}
        for name in {name for patch in before for name in patch.files} - kept:
            self.drop(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        head = [line for line in self.order.read_text().splitlines(keepends=True)
                if line.startswith("#")] if self.order.is_file() else []
        for path in self.folder.glob("*.patch"):
            path.unlink()
        for commit in commits:
            for name, (text, bits) in commit.files.items():
                path = self.kept_at(name, text)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                path.chmod(int(bits[-3:], 8))
        thread = ""
        for commit, name, now in zip(commits, names, threads):
            if now != thread:
                head.append(f"[{now}]\n")
                thread = now
            if commit.taken:
                head.append(f"{commit.taken.parent.name}/{commit.taken.name}\n")
                continue
            (self.folder / name).write_text(commit.text())
            head.append(" ".join([name, *(places.get(file, file) for file in commit.files)])
                        + "\n")
        self.order.write_text("".join(head))
        for series in self.takers():
            series.rename(self.base, renamed)

    def rename(self, base, names):
        """Name patches of another base as they are called now: {old: new}."""
        self.order.write_text(re.sub(
            rf"^{re.escape(base)}/(\S+)", lambda match: f"{base}/{names[match[1]]}",
            self.order.read_text(), flags=re.MULTILINE))


def follow(patches, commits):
    """The threads that commits belong to: that of the patch with the same subject. One that is new
    is in the thread of the one before it, and so is one that was moved behind a later thread."""
    order = list(dict.fromkeys(patch.thread for patch in patches)) or [""]
    known = {patch.subject: order.index(patch.thread) for patch in patches}
    found, place = [], 0
    for commit in commits:
        place = max(place, known.get(commit.subject, place))
        found.append(order[place])
    return found
