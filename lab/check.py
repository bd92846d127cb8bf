# SPDX-License-Identifier: GPL-2.0-only
"""`make check`: run the tools of the kernel and of the languages on the series and the lab. A
check is a function that returns a list of complaints.

AM=all also applies the series to the base's other sources that Debian has: 120 MB each.

C in the lab is judged by checkpatch and not by clang-format: the kernel's own .clang-format
joins what the kernel aligns, comments and values of macros, and breaks lines at 80 columns.
"""

import ast
import collections
import concurrent.futures
import fnmatch
import graphlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import tomllib

from lab import build, sources, tree
from lab.here import BASE, HERE
from lab.options import option
from lab.util import CPUS, LAB, TOP, LabError, main, no_command, output, remove, run

ACCEPTED = LAB / "checkpatch.toml"
WIDTH = 100                     # columns of the lab's own files
# Types of user space, and the macros of <inttypes.h> that print them.
NOT_IN_LAB = "PREFER_KERNEL_TYPES,CAMELCASE"
# The first is a matter of the whole series, see maintainers(). The second asks a git history,
# which Debian's source has not.
NOT_OF_MAILS = "FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID"
LICENCE = "SPDX-License-Identifier: GPL-2.0"
# What commands of the lab write.
GENERATED = ("*.svg", "*.json")
# Prose, mails, what git alone reads, and configurations, which have none in the kernel.
UNLICENSED = (*GENERATED, "*.md", "README", "*.patch", "cover-letter*", ".gitignore", "*.config",
              "config", "settings")

FINDING = re.compile(r"^(?:ERROR|WARNING|CHECK):(\w+): (.+)\n"
                     r"(?:#\d+: (?:FILE: (\S+):(\d+):)?.*\n)?((?:.+\n)*)", re.MULTILINE)


class NotHere(LabError):
    """This machine has not what a check needs; the text says what that is."""


def said(argv, cwd=TOP, env=None):
    """All that a tool says, which complains with an exit status."""
    try:
        return subprocess.run([str(arg) for arg in argv], cwd=cwd, env=env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False).stdout
    except FileNotFoundError:
        raise no_command(argv[0]) from None


def messages(text, names):
    """The messages of a compiler or a similar tool about the files `names`, and how often each
    comes. Line numbers are left out, because lines move."""
    one = "|".join(map(re.escape, sorted(names)))
    return collections.Counter(
        f"{name}: {what}" for name, what in
        re.findall(rf"(?:^|/)({one}):\d+(?::\d+)?: ((?:warning|error): .+)$", text, re.MULTILINE))


def new_messages(series, base):
    """The messages that the base does not have."""
    return sorted((series - base).elements())


def touched(*suffixes):
    """What the series changes or adds, with one of these suffixes."""
    return sorted(name for name in tree.SERIES.touched() if name.endswith(suffixes))


def objects():
    """The C files of the series that are compiled to objects of the kernel."""
    return [name for name in touched(".c")
            if not name.startswith("tools/") and not name.endswith("/asm-offsets.c")]


def config(src, pages="small"):
    """A configuration, see build.fragment(), that compiles all that `src` has of objects()."""
    tests = [name for name in objects() if name.endswith("_test.c") and (src / name).is_file()]
    return f"{pages}+kunit" if tests else pages


def touched_in_base():
    """What the series changes and the base has."""
    tree.tree()
    return set(tree.git_linux("ls-tree", "-r", "--name-only", "base", "--",
                              *tree.SERIES.touched()).splitlines())


def own_files(*patterns):
    """The files of this repository, as git knows them, with one of these patterns."""
    names = output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
                    *patterns], cwd=TOP).splitlines()
    return sorted({TOP / name for name in names if (TOP / name).is_file()})


def findings(*args):
    """What checkpatch --strict says: (type, message, file, line, lines shown) each."""
    text = output(["perl", tree.LINUX / "scripts/checkpatch.pl", "--strict", "--show-types",
                   "--no-summary", "--color=never", *args], cwd=tree.LINUX, ok=(0, 1))
    return FINDING.findall(text)


def checkpatch():
    """The mails are as the kernel wants them, but for what lab/checkpatch.toml accepts."""
    accepted = [entry for entry in tomllib.loads(ACCEPTED.read_text())["accepted"]
                if BASE.name in entry["bases"]]
    used = [False] * len(accepted)
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        mails = tree.all_mails(tree.mails(pathlib.Path(folder, "mails"), tree.LAB))
        with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
            found = pool.map(lambda mail: findings("--ignore", NOT_OF_MAILS, mail), mails)
            for mail, reports in zip(mails, found):
                for kind, message, file, line, shown in reports:
                    matches = [number for number, entry in enumerate(accepted)
                               if entry["type"] == kind and entry["file"] == file
                               and entry.get("text", "") in shown]
                    for number in matches:
                        used[number] = True
                    if not matches:
                        complaints.append(f"{mail.name[:4]} {file}:{line}: {kind}: {message}")
    complaints += [f"{ACCEPTED.relative_to(TOP)}: {entry['type']} in {entry['file']} is no longer "
                   "said: drop the entry" for entry, was in zip(accepted, used) if not was]
    return complaints


def sparse():
    """sparse says nothing about the files of the series that it does not say of the base."""
    valid = tree.tree() / "scripts/checker-valid.sh"
    if valid.is_file() and said(["sh", valid, "sparse", "-D__linux__", "-m64"]).strip() != "1":
        raise NotHere(f"{BASE.name} needs a sparse that knows __typeof_unqual__, newer than "
                      f"{said(['sparse', '--version']).strip()}")
    names = objects()
    found = sparse_messages("series", names)
    # The base need not be looked at if the series has no messages.
    return new_messages(found, sparse_messages("base", sorted(touched_in_base() & set(names)))
                        if found else found)


def sparse_messages(which, names):
    """What sparse says of these files of a kernel."""
    src, out = build.source(which), HERE / f"check/{which}"
    build.configure(src, out, config(src))
    text = said(build.make(src, out, config(src), "C=2", "CHECK=sparse",
                           *map(tree.object_of, names)), env=build.make_env(config(src)))
    # If a file does not compile, or if sparse is not installed, there are no messages either.
    unchecked = [name for name in names if not re.search(rf"CHECK +\S*{re.escape(name)}$", text,
                                                         re.MULTILINE)]
    if unchecked or "***" in text:
        raise LabError(f"sparse did not come to {', '.join(unchecked) or 'its end'}; make says:\n  "
                       + "\n  ".join(text.splitlines()[-8:]))
    return messages(text, names)


def kernel_doc():
    """Comments for kernel-doc are whole, in every file of the series."""
    def warnings(src, names):
        text = said(["perl", "scripts/kernel-doc", "-none", "-v", *names], cwd=src)
        # This one is said of any text above "Return:" where there are no parameters.
        return messages(text.replace("warning: contents before sections", ""), names)

    names = touched(".c", ".h")
    found = warnings(tree.tree(), names)
    base = sorted(touched_in_base() & set(names))
    return new_messages(found, warnings(tree.base_tree(), base) if found and base
                        else collections.Counter())


def documentation():
    """Sphinx builds the pages of the series, has them in a table of contents and warns of
    nothing in them."""
    names = touched(".rst")
    out = HERE / "check/sphinx"
    remove(out)                 # it warns of what it reads, and reads what has changed
    src = tree.tree()
    env = {**os.environ, "LC_ALL": "C", "srctree": str(src), "BUILDDIR": str(out)}
    complaints = []
    # As `make htmldocs` does, which first takes a minute for the media headers. A page's own
    # folder is enough: a table of contents is in each.
    for folder in sorted({str(pathlib.PurePath(name).parent) for name in names}):
        text = said([sys.executable, "-B", "-m", "sphinx", "-q", "-b", "html",
                     "-c", "Documentation", "-d", out / "doctrees" / folder,
                     "-D", "kerneldoc_srctree=.", "-D", "kerneldoc_bin=scripts/kernel-doc",
                     folder, out / folder], cwd=src, env=env)
        complaints += [line.rpartition(f"{src}/")[2] for line in text.splitlines()
                       if any(name in line for name in names)]
        complaints += [f"{name}: no page was made of it; the end of what sphinx-build says: "
                       + " ".join(text.splitlines()[-4:])
                       for name in names if str(pathlib.PurePath(name).parent) == folder
                       and not (out / name).with_suffix(".html").is_file()]
    return complaints


def maintainers():
    """The series' entry in MAINTAINERS, or that of arm64 if it adds none, has every file that the
    series adds, and no pattern of the series' own matches nothing."""
    tree.tree()
    diff = tree.git_linux("diff", "base", "HEAD", "--", "MAINTAINERS")
    patterns = re.findall(r"^\+F:\s+(\S+)$", diff, re.MULTILINE)
    if not patterns:
        entry = re.search(r"^ARM64 PORT .*\n(?:.+\n)*", tree.git_linux("show", "HEAD:MAINTAINERS"),
                          re.MULTILINE)[0]
        patterns = re.findall(r"^F:\s+(\S+)$", entry, re.MULTILINE)
    names = tree.git_linux("ls-tree", "-r", "--name-only", "HEAD").splitlines()

    def matches(pattern, name):
        # * is within a folder, as in scripts/get_maintainer.pl
        return name.startswith(pattern) if pattern.endswith("/") else (
            fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/"))

    complaints = [f"MAINTAINERS: no file matches F: {pattern}" for pattern in patterns
                  if not any(matches(pattern, name) for name in names)]
    return complaints + [f"{name}: no pattern in the series' entry in MAINTAINERS matches it"
                         for name in sorted(tree.SERIES.touched() - touched_in_base())
                         if not any(matches(pattern, name) for pattern in patterns)]


def git_am():
    """git am takes the mails on the base, with no context that is only nearly right."""
    return am(base_archive())


def base_archive():
    """The files of the base that the series touches, as a tar archive."""
    archive = HERE / "check/base.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    tree.tree()
    tree.git_linux("archive", "-o", str(archive), "--prefix=base/", "base", "--",
                   *sorted(touched_in_base()))
    return archive


def git_am_elsewhere():
    """The same on the other sources of the base that Debian has: what it builds, and what
    kernel.org released."""
    return [complaint for suite, version in BASE.releases for plain in (False, True)
            for complaint in am(sources.archive(BASE, suite, version, plain))]


def am(archive):
    """git am on the files that the series touches, out of a tar archive of a kernel: the
    complaint, or nothing. git am never takes a patch whose context is not exactly there."""
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder, "linux")
        where.mkdir()
        env = tree.identity(tree.LAB) | {"GIT_CONFIG_GLOBAL": "/dev/null",
                                         "GIT_CONFIG_NOSYSTEM": "1"}
        run(["tar", "-xf", archive, "-C", where, "--no-same-owner", "--strip-components=1",
             "--wildcards", "--no-wildcards-match-slash",
             *(f"*/{name}" for name in sorted(touched_in_base()))],
            f"unpacking {archive.name}", log="check.log")
        for args in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", archive.name]):
            output(["git", *args], cwd=where, env=env)
        mails = tree.all_mails(tree.mails(pathlib.Path(folder, "mails"), tree.LAB))
        try:
            output(["git", "am", "-q", *mails], cwd=where, env=env)
        except LabError as error:
            return [f"{archive.name}: " + " ".join(str(error).partition(": ")[2].split())]
    return []


def lab_c():
    """C in the lab is as the kernel's is, at the lab's width."""
    return [f"{file}:{line}: {kind}: {message}" for path in own_files("lab/*.[chS]")
            for kind, message, file, line, _ in
            findings("--no-tree", f"--max-line-length={WIDTH}", "--ignore", NOT_IN_LAB, "-f", path)]


def shell():
    """shellcheck finds nothing in the shell scripts."""
    scripts = [path for path in own_files()
               if re.match(rb"#!.*\b(?:ba|da)?sh\b", path.read_bytes()[:64])]
    return said(["shellcheck", "--format=gcc", *scripts]).splitlines()


def python():
    """flake8 finds nothing in the lab's Python."""
    return said([sys.executable, "-m", "flake8", "--isolated", f"--max-line-length={WIDTH}",
                 *own_files("*.py")]).splitlines()


def module(path):
    """The name by which a file of Python is imported: lab.bench.figures, for example."""
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """What a file imports, at its top or in a function: names of modules, and of what is in
    them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports():
    """No file of the lab imports one that imports it, by however many steps."""
    files = {module(path): path for path in own_files("lab/*.py")}
    graph = {name: imported(path) & files.keys() - {name} for name, path in files.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [f"imports go in a circle: {' is imported by '.join(error.args[1])}"]
    return []


def white_space():
    """No line ends in a space, and the last one ends."""
    complaints = []
    for path in own_files():
        if any(map(path.match, GENERATED)):
            continue
        name, text = path.relative_to(TOP), path.read_text()
        # What a patch finds or takes away is as it is.
        ours = ("+",) if path.suffix == ".patch" else ("",)
        complaints += [f"{name}:{number}: white space at the end of the line"
                       for number, line in enumerate(text.split("\n"), 1)
                       if line.startswith(ours) and line != line.rstrip()]
        if text and not (text.endswith("\n") and not text.endswith("\n\n")):
            complaints.append(f"{name}: the end is not one line's end")
    return complaints


def licences():
    """Every file that can says its licence at its top."""
    return [f"{path.relative_to(TOP)}: no {LICENCE} in the first three lines"
            for path in own_files()
            if not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in UNLICENSED)
            and path.stat().st_size
            and LICENCE not in "\n".join(path.read_text().splitlines()[:3])]


CHECKS = (checkpatch, sparse, kernel_doc, documentation, maintainers, git_am, lab_c, shell,
          python, imports, white_space, licences)


def command(_):
    """make check"""
    checks = CHECKS + ((git_am_elsewhere,) if option("AM") == "all" else ())
    ends = collections.Counter()
    for check in checks:
        start = time.monotonic()
        end = "FAILED"
        try:
            complaints = check()
            end = "FAILED" if complaints else "passed"
        except NotHere as why:
            end, complaints = "skipped", [str(why)]
        except LabError as error:
            complaints = [str(error)]
        ends[end] += 1
        print("\n    ".join([f"{end:7} {check.__name__:16}{time.monotonic() - start:6.1f} s",
                             *complaints]), flush=True)
    print(f"{ends['passed']} passed, {ends['FAILED']} failed, {ends['skipped']} skipped")
    return 1 if ends["FAILED"] else 0


if __name__ == "__main__":
    main(command)
