# SPDX-License-Identifier: GPL-2.0-only
"""The series as commits and as mails: make tree, make series and make refresh.

Commits are made in a git index of their own, without a work tree. So a patch that does not apply
changes nothing. make apply is in lab/apply.py.
"""

import json
import os
import re
import shutil
import tempfile
import typing

from lab.base import source_version
from lab.here import BASE, HERE
from lab.series import Commit, Series, mode
from lab.sources import base_source, unpack, version_of
from lab.util import BUILD, TOP, LabError, locked, main, need_space, output, remove, run, say

SERIES = Series(TOP, BASE.name)
LINUX = HERE / "linux"
NAME = f"build/{BASE.name}/linux"        # the same path, for messages
PLAIN = HERE / "base"
STATE = LINUX / ".git" / "lab.json"
BRANCH = "trans_pgd"
BUNDLED = "refs/lab/before"     # the reference in base.bundle
# The files in a work tree of work_tree(), as git's sparse-checkout takes them. It has no sources of
# large folders that no kernel of the lab compiles. These are more than half of all bytes. Kconfig
# reads its own files in every folder, so these are there.
SPARSE = ["/*", "!/Documentation/*/", "!/arch/**/*.[chS]", "!/arch/**/*.dts*", "/arch/arm/**",
          "/arch/arm64/**", *(f"!/{folder}/**/*.[ch]" for folder in (
              "drivers/gpu", "drivers/infiniband", "drivers/media", "drivers/net/ethernet",
              "drivers/net/wireless", "drivers/staging", "sound"))]


class Thread(typing.NamedTuple):
    """Mails that are sent together."""
    cover: os.PathLike      # the cover letter
    mails: list             # in their order


# Author and date of the lab's commits. They are fixed, so the same patches give the same commits.
LAB = {"name": "trans_pgd lab", "email": "lab@localhost", "date": "2026-01-01T00:00:00 +0000"}


def user(where=TOP):
    """The user's name and email, from the git configuration of a tree."""
    who = {key: output(["git", "config", f"user.{key}"], cwd=where, ok=(0, 1)).strip()
           for key in ("name", "email")}
    if not all(who.values()):
        raise LabError("git does not know your name and email, which the commits need; set them: "
                       "git config --global user.name NAME; "
                       "git config --global user.email ADDRESS")
    return who


def identity(who):
    """An environment in which git takes this name and email for author and committer."""
    return {**os.environ, **{f"GIT_{role}_{key.upper()}": value
                             for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}}


def put_whole(git, patch):
    """Apply a patch to git's index, as a whole."""
    if not patch.diff().strip():
        return
    try:
        git("apply", "--cached", "--whitespace=nowarn", "-", stdin=patch.diff())
    except LabError as error:
        text = str(error)
        names = sorted(set(re.findall(r"error: (?:patch failed: )?([\w./-]+):(?: |\d)", text)))
        raise LabError(f"{patch.path.name} does not apply to {', '.join(names) or 'the tree'}; "
                       "'make apply LINUX=DIR' lists all conflicts. git says:\n  "
                       + "\n  ".join(text.splitlines()[-6:])) from None


def commit_series(repo, base, who, sign_off=False, env=None, put=put_whole):
    """Make the commits of the series on top of commit `base` of `repo`. Return the last commit.

    Only git objects are written. No reference, index or work tree changes.

    env: additional environment variables. They can make git write the objects elsewhere.
    put: a function that applies a patch to git's index. Its arguments are git and the patch.
    """
    parent = base
    with tempfile.TemporaryDirectory() as scratch:
        env = {**identity(who), **(env or {}), "GIT_INDEX_FILE": f"{scratch}/index"}

        def git(*args, stdin=None):
            return output(["git", *args], cwd=repo, env=env, stdin=stdin)

        git("read-tree", base)
        for patch in SERIES.patches():
            put(git, patch)
            for name in patch.files:
                path = SERIES.whole(name)
                blob = git("hash-object", "-w", str(path)).strip()
                git("update-index", "--add", "--cacheinfo", f"{mode(path)},{blob},{name}")
            message = patch.message()
            if sign_off:
                message = git("interpret-trailers", "--trailer",
                              f"Signed-off-by: {who['name']} <{who['email']}>", stdin=message)
            parent = git("commit-tree", git("write-tree").strip(), "-p", parent,
                         stdin=message).strip()
    return parent


def object_of(name):
    """The name of the object file of a source file. KVM's code for EL2 has names of its own."""
    return name.rpartition(".")[0] + (".nvhe.o" if "/hyp/nvhe/" in name else ".o")


def state():
    """What the last `make tree` made: sources and commits. Empty if there is none."""
    return json.loads(STATE.read_text()) if STATE.is_file() else {}


def git_linux(*args):
    """The output of git in build/BASE/linux."""
    return output(["git", *args], cwd=LINUX).strip()


def edits():
    """What `make refresh` has not carried back from build/BASE/linux, in words. None if there is
    nothing."""
    if git_linux("status", "--porcelain", "--untracked-files=no"):
        return "changes that are not committed"
    return "new commits" if git_linux("rev-parse", "HEAD") != state()["head"] else None


def need_no_edits(what):
    """Stop if build/BASE/linux has edits, because they are somebody's work. what: the command that
    would lose them."""
    found = edits()
    if found:
        raise LabError(
            f"{NAME} has {found}, which {what} would lose. Commit them and run 'make refresh'. "
            "Or drop them: "
            f"'git -C {NAME} reset --hard {state()['head'][:12]}'")


def drop_debian_ignore(source):
    """Remove from .gitignore what Debian added. It ignores every file, so git add would not work
    for the user."""
    text = (source / ".gitignore").read_text()
    if "\n/*\n" in text:
        blob = output(["git", "hash-object", "-w", "--stdin"], cwd=LINUX,
                      stdin=text.partition("\n# Debian packaging")[0] + "\n").strip()
        git_linux("update-index", "--cacheinfo", f"100644,{blob},.gitignore")


def import_base(source):
    """Make build/BASE/linux with `source` as its only commit."""
    git = (source / ".git").exists()
    if not git and (source / "include" / "config").exists():
        raise LabError(f"a kernel has been built in {source}, so its files are not the source "
                       "alone; run 'make mrproper' there first, or give a git tree, of which only "
                       "HEAD is read")
    say(f"importing {source} into {NAME}")
    need_space(BUILD, 3000)
    shutil.rmtree(LINUX, ignore_errors=True)
    # An archive becomes the work tree itself, so that its files are on the disk only once.
    files = source if source.is_dir() else LINUX
    if files is LINUX:
        unpack(source, version_of(source), LINUX)
    LINUX.mkdir(parents=True, exist_ok=True)
    run(["git", "init", "-q", "-b", BRANCH, "."], "git init", cwd=LINUX)
    for key, value in {"user.name": LAB["name"], "user.email": LAB["email"], "gc.auto": "0",
                       "core.looseCompression": "0", "advice.detachedHead": "false"}.items():
        git_linux("config", key, value)
    # Of a git tree only HEAD is taken. What was built there is not in HEAD.
    if git:
        run(["git", "fetch", "-q", "--depth=1", f"file://{source.resolve()}", "HEAD"],
            f"reading {source}", cwd=LINUX)
        tree = git_linux("rev-parse", "FETCH_HEAD^{tree}")
    else:
        # -f: the .gitignore of Debian's source package ignores every file. git writes files over
        # the threshold to one pack, which takes half of the space of loose objects.
        run(["git", f"--git-dir={LINUX}/.git", f"--work-tree={files.resolve()}",
             "-c", "core.bigFileThreshold=1", "-c", "core.compression=1", "add", "-A", "-f", "."],
            f"reading {source}", cwd=files)
        drop_debian_ignore(files)
        tree = git_linux("write-tree")
    base = output(["git", "commit-tree", tree, "-m", f"Linux {version_of(source)}"],
                  cwd=LINUX, env=identity(LAB)).strip()
    git_linux("tag", "-f", "base", base)
    return base


def tree(source=None):
    """Make build/BASE/linux, unless it is up to date: the base, and the series as commits on top.

    source: the source of the base, if it is not base_source().
    """
    source = source or base_source()
    with locked(f"{BASE.name}-linux"):
        known = state()
        ident = f"{source.resolve()} {version_of(source)}"
        if (source / ".git").exists():
            ident += " " + output(["git", "rev-parse", "HEAD"], cwd=source).strip()
        wanted = SERIES.state()
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
    """Make `where` a git work tree of build/BASE/linux, with the base in it, unless it is one."""
    tree()
    with locked(f"{BASE.name}-linux"):
        for entry in git_linux("worktree", "list", "--porcelain").split("\n\n"):
            # git locks a work tree until all files are there.
            link = where / ".git"
            if (entry.startswith(f"worktree {where}\n") and "\nlocked" not in entry
                    and link.is_file() and link.read_text().startswith(f"gitdir: {LINUX}/")):
                return
        need_space(BUILD, 1500)
        remove(where)
        say(f"making the work tree {where}")
        run(["git", "worktree", "add", "-q", "-f", "-f", "--no-checkout", "--detach", where,
             "base"], "making a work tree", cwd=LINUX)
        run(["git", "sparse-checkout", "set", "--no-cone", *SPARSE], "making a work tree",
            cwd=where)
        run(["git", "checkout", "-q"], "making a work tree", cwd=where)


def base_tree():
    """Make build/BASE/base, a work tree of the base without the series. The lab compares with its
    kernel."""
    work_tree(PLAIN)
    return PLAIN


def mails(folder, who=None):
    """Write the series to `folder`: *.patch for `git am`, cover-letter.mail, and base.bundle. A
    thread with a name has a folder of that name. Return the threads in their order.

    who: name and email of the author, if that is not the user.
    """
    tree()
    return write_mails(folder, who or user())


def write_mails(folder, who):
    """The same, without a `make tree` first."""
    threads = SERIES.threads()
    if not threads:
        raise LabError(f"there is no series for {BASE.name} yet, so there are no mails")
    base = state()["base"]
    head = commit_series(LINUX, base, who, sign_off=True)
    shutil.rmtree(folder, ignore_errors=True)
    if edits():
        say(f"note: {NAME} has {edits()}. The mails do not have them until you run 'make refresh'.")
    commits = git_linux("rev-list", "--reverse", f"{base}..{head}").split()
    written, done, below = [], 0, []
    for name, patches in threads.items():
        subject, text = SERIES.cover(name)
        first, done = done, done + len(patches)
        written.append(write_thread(
            folder / name, who, [base, *commits][first], commits[done - 1],
            (subject, text + prerequisites(below, commits[:first]))))
        below.append(subject)
    write_bundle(folder / "base.bundle", head)
    return written


def prerequisites(subjects, commits):
    """The lines of a cover letter about the threads that its own thread is on top of. git
    format-patch --base writes such lines too. It would name the base by a commit, but that commit
    is in the lab's tree only. So these lines name it by the version."""
    if not subjects:
        return ""
    listed = "".join(f"prerequisite-patch-id: {patch_id(commit)}\n" for commit in commits)
    return (f"\n\nThis is on Linux {source_version(LINUX)} with "
            + " and ".join(f"'{subject}'" for subject in subjects) + f":\n\n{listed}").rstrip()


def patch_id(commit):
    """git's patch id of a commit. Equal changes have the same one in every tree."""
    return output(["git", "patch-id", "--stable"],
                  stdin=git_linux("diff-tree", "-p", commit) + "\n").split()[0]


def write_thread(folder, who, base, head, cover):
    """Write the mails of the commits base..head. cover: subject and text of the cover letter."""
    # In a tree with the whole history of Linux, shorter names of objects are not unique.
    git_linux("-c", f"user.name={who['name']}", "-c", f"user.email={who['email']}",
              "-c", "core.abbrev=12", "format-patch",
              "-q", "--no-base", "--cover-letter", "-o", str(folder), f"{base}..{head}")
    made = folder / "0000-cover-letter.patch"
    path = folder / "cover-letter.mail"
    path.write_text(made.read_text().replace("*** SUBJECT HERE ***", cover[0])
                    .replace("*** BLURB HERE ***", cover[1]))
    made.unlink()
    return Thread(path, sorted(folder.glob("*.patch")))


def all_mails(threads):
    """The mails of all threads, in the order for git am."""
    return [mail for thread in threads for mail in thread.mails]


def write_bundle(path, head):
    """Write a git bundle with each file that a mail of base..head changes, as it is before that
    mail. `git am -3` needs these files to merge."""
    with tempfile.TemporaryDirectory() as scratch:
        env = {**identity(LAB), "GIT_DIR": f"{scratch}/git", "GIT_INDEX_FILE": f"{scratch}/index",
               "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(LINUX / ".git/objects")}

        def git(*args, stdin=None):
            return output(["git", *args], cwd=scratch, env=env, stdin=stdin)

        git("init", "-q", "--bare")
        listed = ""
        commits = git_linux("rev-list", "--reverse", f"{state()['base']}..{head}").split()
        for number, commit in enumerate(commits, 1):
            for line in git_linux("diff-tree", "-r", "--no-renames", "--no-commit-id",
                                  "--diff-filter=a", commit).splitlines():
                mode, _, blob, *_, name = line[1:].split()
                listed += f"{mode} {blob}\t{number:04d}/{name}\n"
        git("update-index", "--index-info", stdin=listed)
        before = git("commit-tree", git("write-tree").strip(),
                     stdin="what the series finds where it changes files\n").strip()
        git("update-ref", BUNDLED, before)
        git("bundle", "create", "-q", str(path.absolute()), BUNDLED)


def refresh():
    """Write the commits of build/BASE/linux to patches/ and the whole files of the repository."""
    known = state()
    if not known:
        raise LabError(f"there is no {NAME} yet: 'make tree' makes it")
    dirty = git_linux("status", "--porcelain", "--untracked-files=no")
    if dirty:
        raise LabError(f"{NAME} has changes that are not committed. Put them into the commits "
                       "where they belong (git commit --fixup=..., git rebase -i --autosquash "
                       f"base), and run 'make refresh' again:\n{dirty}")
    # build/BASE/linux was made before such edits. So its commits would overwrite them.
    now = SERIES.state()
    both = sorted(name for name in known["series"].keys() | now.keys()
                  if known["series"].get(name) != now.get(name))
    if both:
        raise LabError(f"{', '.join(both)} changed here since 'make tree', and 'make refresh' "
                       "would overwrite that. Run 'git stash', 'make refresh' and 'git stash pop'. "
                       "Then 'make tree' takes the change over.")
    commits = [take(commit, ident) for ident, commit in commits_of(known["base"])]
    tell_taken(commits)
    SERIES.write(commits)
    known |= {"head": git_linux("rev-parse", "HEAD"), "series": SERIES.state()}
    STATE.write_text(json.dumps(known, indent=1))
    patches = SERIES.patches()
    say(f"patches/{BASE.name}: {len(patches)} patches, "
        f"{sum(len(patch.files) for patch in patches)} whole files")


def taken_patches():
    """All patches of the bases that this series takes patches from."""
    return [other.resolve(line) for other in map(SERIES.other, SERIES.others())
            for line in other.lines() if "/" not in line.name]


def take(commit, ident):
    """The commit `ident`. If a patch of another base makes the same commit, that patch is taken:
    it has the same message, and on top of the commit before it makes the same tree."""
    for patch in taken_patches():
        if (patch.message().strip() == commit.message
                and sorted(patch.files) == sorted(commit.files)
                and not differing(ident, patch, commit.files)):
            return commit._replace(taken=patch.path)
    return commit


def differing(ident, patch, whole):
    """The files that differ between the commit `ident` and the patch on top of the commit before.
    whole: whole files, which the caller compares."""
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, "GIT_INDEX_FILE": f"{scratch}/index"}

        def git(*args, stdin=None):
            return output(["git", *args], cwd=LINUX, env=env, stdin=stdin)

        git("read-tree", f"{ident}^")
        try:
            put_whole(git, patch)
        except LabError:
            return sorted(set(re.findall(r"^\+\+\+ b/(.+)$", patch.diff(), re.MULTILINE)))
        return [name for name in git("diff-index", "--cached", "--name-only", ident).splitlines()
                if name not in whole]


def tell_taken(commits):
    """Say which patches of other bases the series no longer takes, and why."""
    idents = git_linux("rev-list", "--reverse", f"{state()['base']}..HEAD").split()
    for patch in SERIES.patches():
        if patch.path.parent == SERIES.folder or patch.path in {one.taken for one in commits}:
            continue
        name = f"{patch.path.parent.name}/{patch.path.name}"
        for ident, commit in zip(idents, commits):
            if commit.subject == patch.subject and not commit.taken:
                why = differing(ident, patch, commit.files)
                why += sorted(set(commit.files) ^ set(patch.files))
                if commit.message != patch.message().strip():
                    why.append("the message")
                say(f"note: '{commit.subject}' is now a patch of {BASE.name}'s own and no longer "
                    f"{name}. These differ: {', '.join(why)}")
                break
        else:
            say(f"note: {name} is no longer in the series")


def commits_of(base):
    """[(commit, Commit)] of all commits of build/BASE/linux after `base`."""
    whole = {name for patch in SERIES.patches() for name in patch.files}
    owners = {}
    found = []
    for commit in git_linux("rev-list", "--reverse", f"{base}..HEAD").split():
        message = git_linux("log", "-1", "--format=%B", commit)
        if message.startswith(("fixup!", "squash!", "amend!")):
            subject = message.partition("\n")[0]
            raise LabError(f"{NAME} has the commit '{subject}', which is a part of another one. "
                           f"Join them: git -C {NAME} rebase -i --autosquash base")
        rest, files = [], []
        for line in git_linux("diff-tree", "-r", "--no-renames", "--no-commit-id",
                              "--name-status", commit).splitlines():
            status, name = line.split("\t")
            if name in owners:
                raise LabError(f"two commits change {name}, {owners[name][:12]} and "
                               f"{commit[:12]}, but the repository keeps it as a whole file. Join "
                               "the two commits.")
            if status == "A" or name in whole and status == "M":
                files.append(name)
                owners[name] = commit
            else:
                rest.append(name)
        # output() and not git_linux(), which strips white space. A diff may end with a line that
        # is a single space.
        diff = output(["git", "diff-tree", "-p", "--no-renames", "--no-commit-id", commit, "--",
                       *rest], cwd=LINUX) if rest else ""
        found.append((commit, Commit(
            git_linux("log", "-1", "--format=%f", commit)[:52], message,
            re.sub(r"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", "", diff, flags=re.M),
            {name: (output(["git", "show", f"{commit}:{name}"], cwd=LINUX),
                    git_linux("ls-tree", commit, name)[:6]) for name in files})))
    return found


def command(words):
    """tree | series | refresh"""
    what = words[0] if words else "tree"
    if what == "tree":
        tree()
        say(f"{NAME} has {len(SERIES.patches())} patches on Linux "
            f"{source_version(LINUX)}"
            + (f", and {edits()}; 'make refresh' carries them back" if edits() else ""))
    elif what == "series":
        for thread in mails(HERE / "series"):
            for path in (thread.cover, *thread.mails):
                print(path.relative_to(TOP))
    elif what == "refresh":
        with locked(f"{BASE.name}-linux"):
            refresh()
    else:
        raise LabError(f"unknown command {what}: tree, series or refresh")


if __name__ == "__main__":
    main(command)
