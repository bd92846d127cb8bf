# SPDX-License-Identifier: GPL-2.0-only
"""How this repository keeps a series: as patches in patches/BASE, and as whole files.

The file patches/BASE/series lists the patches in their order. Each line stands for one commit. It
names a patch, and then the whole files that the commit adds or replaces. No whole file is in a
patch.

A whole file that bases share is at its kernel path, below the top of the repository. If a base has
another kernel path for it, the line says KERNELPATH=PATH, where PATH is the path in the repository.
A whole file of one base alone is below patches/BASE/files. A base that already has such a file
changes it by patches. For example, mainline has its own trans_pgd.c.

A series can take a patch of another base, if that applies without a change. The line for it is
OTHER/PATCH, and the patch stays in patches/OTHER only. The whole files of its commit are those that
patches/OTHER/series names. Each is looked for below patches/BASE/files, then below
patches/OTHER/files, then at its kernel path.

A line [NAME] begins a thread: patches that are sent together, with a cover letter, which is
patches/BASE/cover-letter.NAME. A line [] begins the thread without a name, and its cover letter is
patches/BASE/cover-letter. A series without such lines has only this thread. Threads are sent in
their order. Each applies on top of those before it.
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
    files: list             # kernel paths of the whole files that the commit adds or replaces
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
    """A commit of a kernel tree, as the repository keeps it."""
    slug: str               # its subject, in the form of a file name
    message: str
    diff: str               # of existing files; may be empty
    files: dict             # {kernel path of a whole file: (text, mode)}
    taken: pathlib.Path | None = None   # the patch of another base that makes the same commit

    @property
    def subject(self):
        """The first line of the message."""
        return self.message.partition("\n")[0]

    def text(self):
        """The text of its patch file."""
        subject, _, body = self.message.partition("\n")
        return f"Subject: {subject}\n\n{body.strip()}\n---\n{self.diff}"


class Line(typing.NamedTuple):
    """A line of a file patches/BASE/series."""
    name: str               # of the patch; OTHER/PATCH for a patch of another base
    files: list             # kernel paths of its whole files
    places: dict            # {kernel path: path in the repository} of each KERNELPATH=PATH
    thread: str             # the name of the thread that the line is in


def mode(path):
    """The mode that git records for a file."""
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
        """The file that lists the patches in their order."""
        return self.folder / "series"

    def other(self, base):
        """The series of another base in the same repository."""
        return Series(self.top, base)

    def lines(self):
        """The lines that name patches. A base without a series has none."""
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
        """{kernel path: path in the repository} of the whole files whose two paths differ."""
        return {name: place for base in (*self.others(), self.base)
                for line in self.other(base).lines() for name, place in line.places.items()}

    def shared(self, name):
        """The path in the repository of a whole file that bases share."""
        return self.top / self.elsewhere().get(name, name)

    def whole(self, name):
        """The path in the repository of a whole file, which may be this base's own."""
        for base in (self.base, *self.others()):
            path = self.top / "patches" / base / "files" / name
            if path.is_file():
                return path
        return self.shared(name)

    def kept_at(self, name, content):
        """The path in the repository to write a whole file to. A file in the folder of another base
        is not written to. If the content differs from it, this base gets its own file."""
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
        """Remove a whole file that the series no longer has. A shared file stays if another base
        uses it."""
        (self.folder / "files" / name).unlink(missing_ok=True)
        path = self.shared(name)
        if path not in {series.shared(name) for series in self.every()
                        for line in series.lines() for name in line.files}:
            path.unlink(missing_ok=True)

    def cover(self, thread=""):
        """(subject, text) of a thread's cover letter."""
        path = self.folder / ("cover-letter" + (f".{thread}" if thread else ""))
        if not path.is_file():
            raise LabError(f"{path.relative_to(self.top)} is missing; it is the cover letter of "
                           f"{f'thread [{thread}]' if thread else 'the patches'} in "
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
        """The patches in their order. A base without a series has none."""
        found = [self.resolve(line) for line in self.lines()]
        for patch in found:
            for path in [patch.path, *map(self.whole, patch.files)]:
                if not path.is_file():
                    raise LabError(f"{self.order} names {path.relative_to(self.top)}, which does "
                                   "not exist")
        listed = {patch.path for patch in found}
        for path in self.folder.glob("*.patch"):
            if path not in listed:
                raise LabError(f"no line of {self.order.relative_to(self.top)} names "
                               f"{path.relative_to(self.top)}")
        return found

    def threads(self):
        """{name of a thread: its patches}; threads and patches are in their order."""
        found = {}
        for patch in self.patches():
            found.setdefault(patch.thread, []).append(patch)
        return found

    def takers(self):
        """The series of other bases that take patches of this one."""
        return [series for series in self.every() if self.base in series.others()]

    def state(self):
        """{path: mode and hash} of all files that the commits are made from."""
        paths = [self.order] if self.order.is_file() else []
        for patch in self.patches():
            paths += [patch.path, *map(self.whole, patch.files)]
        return {str(path.relative_to(self.top)):
                f"{mode(path)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths}

    def touched(self):
        """Kernel paths of all files that the series changes or adds."""
        return {name for patch in self.patches() for name in
                [*patch.files, *re.findall(r"^\+\+\+ b/(.+)$", patch.diff(), re.MULTILINE)]}

    def renamed(self, commits, names):
        """{old name: new name} of the patches that other bases take, if the commits are written
        under `names`. LabError if there would be no such patch any more."""
        found = {}
        for series in self.takers():
            for line in series.lines():
                base, _, old = line.name.rpartition("/")
                if base != self.base:
                    continue
                patch = self.resolve(Line(old, [], {}, ""))
                if not patch.path.is_file():
                    raise LabError(f"{series.order.relative_to(self.top)} takes {line.name}, "
                                   "which does not exist")
                own = [(name, commit) for name, commit in zip(names, commits)
                       if not commit.taken]
                same = ([name for name, commit in own if commit.subject == patch.subject] or
                        [name for name, commit in own if commit.diff == patch.diff()])
                if len(same) != 1:
                    raise LabError(
                        f"{series.order.relative_to(self.top)} takes {line.name}, but now "
                        f"{'no commit has' if not same else 'several commits have'} its subject "
                        f"or its diff. Give {series.base} its own copy first: 'cp "
                        f"patches/{line.name} patches/{series.base}/', and remove '{base}/' from "
                        "that line")
                found[old] = same[0]
        return found

    def write(self, commits):
        """Write these commits as the series, in place of the patches and files that it has."""
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
        """Change the names of patches that are taken from another base. names: {old: new}."""
        self.order.write_text(re.sub(
            rf"^{re.escape(base)}/(\S+)", lambda match: f"{base}/{names[match[1]]}",
            self.order.read_text(), flags=re.MULTILINE))


def follow(patches, commits):
    """The name of each commit's thread. It is the thread of the patch with the same subject. A new
    commit is in the thread of the commit before it. So is a commit that was moved behind a
    commit of a later thread. Each thread is one block of the series."""
    order = list(dict.fromkeys(patch.thread for patch in patches)) or [""]
    known = {patch.subject: order.index(patch.thread) for patch in patches}
    found, place = [], 0
    for commit in commits:
        place = max(place, known.get(commit.subject, place))
        found.append(order[place])
    return found
