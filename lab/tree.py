# SPDX-License-Identifier: GPL-2.0-only
"""The series as commits and as mails: make tree, series, apply and refresh.

patches/v5.10/series orders the patches. A line names a patch and the whole
files that the same commit brings in from this repository; nothing stands in
both. Commits are put together in an index of their own, without a work tree,
so that a patch that does not apply leaves everything as it was.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import typing

from lab import fetch
from lab.util import BUILD, TOP, LabError, locked, main, need_space, output, remove, run, say

PATCHES = TOP / "patches" / "v5.10"
SERIES = PATCHES / "series"
COVER = PATCHES / "cover-letter"
LINUX = BUILD / "linux"
BASE = BUILD / "base"
STATE = LINUX / ".git" / "lab.json"
BRANCH = "trans_pgd"
# The same commits from the same patches, whoever makes them and whenever.
LAB = {"name": "trans_pgd lab", "email": "lab@localhost", "date": "2026-01-01T00:00:00 +0000"}


class Patch(typing.NamedTuple):
    """One commit of the series."""
    path: pathlib.Path      # the mail: message and changes to existing files
    files: list             # kernel paths of the whole files it brings in

    def message(self):
        """The commit message: subject, blank line, body."""
        head, _, rest = self.path.read_text().partition("\n\n")
        if not head.startswith("Subject: "):
            raise LabError(f"{self.path} has to begin with a 'Subject:' line")
        return head[len("Subject: "):] + "\n\n" + rest.partition("\n---\n")[0].strip() + "\n"

    def diff(self):
        """The changes to existing files, in git's format; may be empty."""
        return self.path.read_text().partition("\n---\n")[2]


def series():
    """The patches in their order."""
    patches = []
    for line in SERIES.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            patches.append(Patch(PATCHES / words[0], words[1:]))
    listed = {p.path for p in patches}
    for patch in patches:
        for path in [patch.path, *(TOP / f for f in patch.files)]:
            if not path.is_file():
                raise LabError(f"{SERIES} names {path.relative_to(TOP)}, which is not there")
    for path in PATCHES.glob("*.patch"):
        if path not in listed:
            raise LabError(f"{path.relative_to(TOP)} is in no line of {SERIES.relative_to(TOP)}")
    return patches


def series_files():
    """{name: hash} of all that the commits are made from."""
    paths = [SERIES]
    for patch in series():
        paths += [patch.path, *(TOP / name for name in patch.files)]
    return {str(path.relative_to(TOP)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths}


def user(where=TOP):
    """Author and sign-off for mails: whoever git says the user is, in that tree."""
    who = {key: output(["git", "config", f"user.{key}"], cwd=where, ok=(0, 1)).strip()
           for key in ("name", "email")}
    if not all(who.values()):
        raise LabError("git does not know who you are; set it for author and sign-off: "
                       "git config --global user.name NAME; "
                       "git config --global user.email ADDRESS")
    return who


def identity(who):
    """An environment in which git knows who it is that commits."""
    return {**os.environ, **{f"GIT_{role}_{key.upper()}": value
                             for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}}


def commit_series(repo, base, who, sign_off=False):
    """Write the series on top of commit `base` of `repo`; return the last commit.

    Only objects are written: no reference, index or work tree changes.
    """
    parent = base
    with tempfile.TemporaryDirectory() as scratch:
        env = {**identity(who), "GIT_INDEX_FILE": f"{scratch}/index"}

        def git(*args, stdin=None):
            return output(["git", *args], cwd=repo, env=env, stdin=stdin).strip()

        git("read-tree", base)
        for patch in series():
            if patch.diff().strip():
                try:
                    git("apply", "--cached", "--whitespace=nowarn", "-", stdin=patch.diff())
                except LabError as error:
                    raise LabError(conflict(patch, str(error))) from None
            for name in patch.files:
                blob = git("hash-object", "-w", str(TOP / name))
                git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
            message = patch.message()
            if sign_off:
                message = git("interpret-trailers", "--trailer",
                              f"Signed-off-by: {who['name']} <{who['email']}>", stdin=message)
            parent = git("commit-tree", git("write-tree"), "-p", parent, stdin=message)
    return parent


def touched():
    """Kernel paths of all that the series changes or adds."""
    return {name for patch in series() for name in
            [*patch.files, *re.findall(r"^\+\+\+ b/(.+)$", patch.diff(), re.MULTILINE)]}


def object_of(name):
    """The object that a source file is compiled to; KVM's rules for EL2 have other names."""
    return name.rpartition(".")[0] + (".nvhe.o" if "/hyp/nvhe/" in name else ".o")


def conflict(patch, text):
    """What git said of a patch that does not apply, with the files it named."""
    files = sorted(set(re.findall(r"error: (?:patch failed: )?([\w./-]+):(?: |\d)", text)))
    return (f"{patch.path.name} does not apply to {', '.join(files) or 'the tree'}; "
            "nothing was changed. To resolve it by hand: make series, and in your tree "
            "git am -3 with the mails of build/series. git says:\n  "
            + "\n  ".join(text.splitlines()[-6:]))


def state():
    """What `make tree` made last, or nothing."""
    return json.loads(STATE.read_text()) if STATE.is_file() else {}


def git_linux(*args):
    """git in build/linux."""
    return output(["git", *args], cwd=LINUX).strip()


def edits():
    """What build/linux has that was not carried back, in words; None if nothing."""
    if git_linux("status", "--porcelain", "--untracked-files=no"):
        return "changes that are not committed"
    return "new commits" if git_linux("rev-parse", "HEAD") != state()["head"] else None


def need_no_edits(what):
    """Edits in build/linux are somebody's work: stop before losing them."""
    found = edits()
    if found:
        raise LabError(
            f"build/linux has {found}, which {what} would lose: commit them and run "
            "'make refresh', or drop them with "
            f"'git -C build/linux reset --hard {state()['head'][:12]}'")


def drop_debian_ignore(source):
    """Debian's .gitignore hides the whole source; without that, git add works as usual."""
    text = (source / ".gitignore").read_text()
    if "\n/*\n" in text:
        blob = output(["git", "hash-object", "-w", "--stdin"], cwd=LINUX,
                      stdin=text.partition("\n# Debian packaging")[0] + "\n").strip()
        git_linux("update-index", "--cacheinfo", f"100644,{blob},.gitignore")


def import_base(source):
    """Make build/linux with `source` as its only commit."""
    git = (source / ".git").exists()
    if not git and (source / "include" / "config").exists():
        raise LabError(f"{source} has been built in; 'make mrproper' there first, or give "
                       "a git tree, of which only HEAD is read")
    say(f"importing {source} into build/linux")
    need_space(BUILD, 3500)
    shutil.rmtree(LINUX, ignore_errors=True)
    LINUX.mkdir(parents=True)
    run(["git", "init", "-q", "-b", BRANCH, "."], "git init", cwd=LINUX)
    for key, value in {"user.name": LAB["name"], "user.email": LAB["email"], "gc.auto": "0",
                       "core.looseCompression": "0", "advice.detachedHead": "false"}.items():
        git_linux("config", key, value)
    # From a git tree take its HEAD, so that what was built there stays out.
    if git:
        run(["git", "fetch", "-q", "--depth=1", f"file://{source.resolve()}", "HEAD"],
            f"reading {source}", cwd=LINUX)
        tree = git_linux("rev-parse", "FETCH_HEAD^{tree}")
    else:
        # -f: Debian's source package has a .gitignore that ignores it all
        run(["git", f"--git-dir={LINUX}/.git", f"--work-tree={source.resolve()}", "add", "-A",
             "-f", "."], f"reading {source}", cwd=source)
        drop_debian_ignore(source)
        tree = git_linux("write-tree")
    base = output(["git", "commit-tree", tree, "-m", f"Linux {fetch.source_version(source)}"],
                  cwd=LINUX, env=identity(LAB)).strip()
    git_linux("tag", "-f", "base", base)
    return base


def tree():
    """build/linux: the base, and the series as commits on top."""
    source = fetch.base_source()
    with locked("linux"):
        known = state()
        ident = f"{source.resolve()} {fetch.source_version(source)}"
        if (source / ".git").exists():
            ident += " " + output(["git", "rev-parse", "HEAD"], cwd=source).strip()
        wanted = series_files()
        if known.get("source") == ident and known.get("series") == wanted:
            return LINUX
        if known:
            need_no_edits("'make tree'")
        base = known["base"] if known.get("source") == ident else import_base(source)
        say("committing the series")
        head = commit_series(LINUX, base, LAB)
        run(["git", "checkout", "-q", "-f", "-B", BRANCH, head], "checking out", cwd=LINUX)
        STATE.write_text(json.dumps(
            {"source": ident, "series": wanted, "base": base, "head": head}, indent=1))
    return LINUX


def work_tree(where):
    """Make `where` a work tree of build/linux, at the base, unless it is one."""
    tree()
    with locked("linux"):
        for entry in git_linux("worktree", "list", "--porcelain").split("\n\n"):
            # git keeps one locked until it is whole.
            link = where / ".git"
            if (entry.startswith(f"worktree {where}\n") and "\nlocked" not in entry
                    and link.is_file() and link.read_text().startswith(f"gitdir: {LINUX}/")):
                return
        need_space(BUILD, 2500)
        remove(where)
        say(f"making the work tree {where}")
        run(["git", "worktree", "add", "-q", "-f", "-f", "--detach", where, "base"],
            "making a work tree", cwd=LINUX)


def base_tree():
    """build/base: a work tree of the base alone, for the kernel to compare with."""
    work_tree(BASE)
    return BASE


def mails(folder, who=None):
    """Write the series to `folder`: *.patch, which `git am` takes, and cover-letter.mail,
    which it would not; return them, the cover letter first. who: from whom, if not the user."""
    tree()
    who = who or user()
    head = commit_series(LINUX, state()["base"], who, sign_off=True)
    shutil.rmtree(folder, ignore_errors=True)
    if edits():
        say(f"note: build/linux has {edits()}, which are not in the mails until 'make refresh'")
    git_linux("-c", f"user.name={who['name']}", "-c", f"user.email={who['email']}", "format-patch",
              "-q", "--no-base", "--cover-letter", "-o", str(folder), f"{state()['base']}..{head}")
    subject, _, blurb = COVER.read_text().removeprefix("Subject: ").partition("\n")
    made = folder / "0000-cover-letter.patch"
    cover = folder / "cover-letter.mail"
    cover.write_text(made.read_text().replace("*** SUBJECT HERE ***", subject)
                     .replace("*** BLURB HERE ***", blurb.strip()))
    made.unlink()
    return [cover, *sorted(folder.glob("*.patch"))]


def apply(where):
    """Put the series on a new branch of a user's tree, or change nothing."""
    if not where:
        raise LabError("say which tree: make apply LINUX=DIR")
    source = fetch.base_source()
    branch = f"{BRANCH}-v5.10"

    def git(*args, ok=(0,)):
        return output(["git", *args], cwd=source, ok=ok).strip()

    if not (source / ".git").exists():
        raise LabError(f"{source} is not a git tree; make it one (git init; git add -A; "
                       "git commit) so that the series can be a branch of it")
    if (source / "arch/arm64/mm/trans_pgd.c").exists():
        raise LabError(f"{source} has arch/arm64/mm/trans_pgd.c: the series is there already")
    if git("status", "--porcelain", "--untracked-files=no"):
        raise LabError(f"{source} has changes that are not committed; commit or stash them first")
    if git("branch", "--list", branch):
        raise LabError(f"{source} has a branch {branch} already; delete or rename it first")
    who = user(source)
    back = git("symbolic-ref", "-q", "--short", "HEAD", ok=(0, 1)) or git("rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as scratch:
        # Objects of the rehearsal go to a scratch store: on a conflict the
        # user's tree has not even a loose object more.
        objects = pathlib.Path(scratch) / "objects"
        objects.mkdir()
        store = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
        os.environ |= {"GIT_OBJECT_DIRECTORY": str(objects),
                       "GIT_ALTERNATE_OBJECT_DIRECTORIES": store}
        try:
            head = commit_series(source, git("rev-parse", "HEAD"), who,
                                 sign_off=True)
            git("format-patch", "-q", "-o", f"{scratch}/mails", f"HEAD..{head}")
        finally:
            del os.environ["GIT_OBJECT_DIRECTORY"]
            del os.environ["GIT_ALTERNATE_OBJECT_DIRECTORIES"]
        git("checkout", "-q", "-b", branch)
        try:
            git("am", "-q", *map(str, sorted(pathlib.Path(scratch, "mails").iterdir())))
        except (LabError, KeyboardInterrupt):
            git("am", "--abort", ok=(0, 1, 128))
            git("checkout", "-q", back)
            git("branch", "-D", branch)
            raise
    say(f"{source} is on the new branch {branch}: {len(series())} patches on {back}")


def refresh():
    """Carry the commits of build/linux back to patches/ and the whole files."""
    known = state()
    if not known:
        raise LabError("there is no build/linux yet: 'make tree' makes it")
    dirty = git_linux("status", "--porcelain", "--untracked-files=no")
    if dirty:
        raise LabError("build/linux has changes that are not committed; put them into the "
                       "commit where they belong (git commit --fixup=..., git rebase -i "
                       f"--autosquash base) and run it again:\n{dirty}")
    # Edits on this side would be overwritten by what build/linux was made from before.
    now = series_files()
    both = sorted(name for name in known["series"].keys() | now.keys()
                  if known["series"].get(name) != now.get(name))
    if both:
        raise LabError(f"{', '.join(both)} changed here since 'make tree', and refresh would "
                       "overwrite that: 'git stash', 'make refresh', 'git stash pop', and "
                       "then 'make tree' takes it over")
    whole = {name for patch in series() for name in patch.files}
    mine = {}
    new = []
    commits = git_linux("rev-list", "--reverse", f"{known['base']}..HEAD").split()
    for number, commit in enumerate(commits, 1):
        rest, files = [], []
        for line in git_linux("diff-tree", "-r", "--no-renames", "--no-commit-id",
                              "--name-status", commit).splitlines():
            status, name = line.split("\t")
            if name in mine:
                raise LabError(f"{name} is kept whole and is changed by two commits, "
                               f"{mine[name][:12]} and {commit[:12]}: fold them into one")
            if status == "A" or name in whole and status == "M":
                files.append(name)
                mine[name] = commit
            else:
                rest.append(name)
        message = git_linux("log", "-1", "--format=%B", commit)
        subject, _, body = message.partition("\n")
        if subject.startswith(("fixup!", "squash!", "amend!")):
            raise LabError(f"build/linux has the commit '{subject}', which belongs into another: "
                           "git -C build/linux rebase -i --autosquash base")
        slug = git_linux("log", "-1", "--format=%f", commit)[:52]
        text = f"Subject: {subject}\n\n{body.strip()}\n---\n"
        if rest:
            # As it is: a diff may end with a line that is a single space.
            diff = output(["git", "diff-tree", "-p", "--no-renames", "--no-commit-id", commit,
                           "--", *rest], cwd=LINUX)
            text += re.sub(r"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", "", diff, flags=re.M)
        new.append((f"{number:04d}-{slug}.patch", text, files))
    for name in whole - set(mine):
        (TOP / name).unlink(missing_ok=True)
    for name in mine:
        path = TOP / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(output(["git", "show", f"HEAD:{name}"], cwd=LINUX))
    for path in PATCHES.glob("*.patch"):
        path.unlink()
    for name, text, _ in new:
        (PATCHES / name).write_text(text)
    head = SERIES.read_text().splitlines(keepends=True)
    head = "".join(line for line in head if line.startswith("#"))
    SERIES.write_text(head + "".join(" ".join([name, *files]) + "\n" for name, _, files in new))
    known |= {"head": git_linux("rev-parse", "HEAD"), "series": series_files()}
    STATE.write_text(json.dumps(known, indent=1))
    say(f"patches/v5.10: {len(new)} patches, {len(mine)} whole files")


def command(words):
    """tree | series | apply | refresh"""
    what = words[0] if words else "tree"
    if what == "tree":
        tree()
        say(f"build/linux has {len(series())} patches on Linux "
            f"{fetch.source_version(LINUX)}"
            + (f", and {edits()}: 'make refresh' carries them back" if edits() else ""))
    elif what == "series":
        for path in mails(BUILD / "series"):
            print(path.relative_to(TOP))
    elif what == "apply":
        apply(os.environ.get("LINUX"))
    elif what == "refresh":
        with locked("linux"):
            refresh()
    else:
        raise LabError(f"unknown command {what}: tree, series, apply or refresh")


if __name__ == "__main__":
    main(command)
