# SPDX-License-Identifier: GPL-2.0-only
"""make series, refresh and tree on real trees: what they do, and what they leave alone when
they cannot."""

import json
import os
import shutil

import pytest

from lab import tree
from lab.tests.conftest import USER, copy_tree, git
from lab.series import Commit, Series
from lab.util import LabError

# All that the series touches, and the top level, which tells the version.
PATHS = ["arch/arm64", "drivers/firmware", "include/linux", "kernel", "Documentation/arm64",
         "tools/testing/selftests/arm64"]
OTHER = "v6.12"         # another base, with the series that a test gives it
HIBERNATE = "arch/arm64/kernel/hibernate.c"

pytestmark = pytest.mark.usefixtures("git_user")


@pytest.fixture
def user_tree(tmp_path):
    """A user's own tree: the base, without the series, of the folders concerned."""
    where = tmp_path / "user"
    git(tmp_path, "clone", "-q", "--shared", "--no-checkout", str(tree.LINUX), str(where))
    git(where, "sparse-checkout", "set", *PATHS)
    git(where, "checkout", "-q", "-b", "mine", tree.state()["base"])
    return where


def test_mails_make_the_same_tree(user_tree, tmp_path):
    """git am of the mails gives the tree that make tree gives. Each mail is signed off by its
    author. The cover letter is from the same author, and has no placeholder left."""
    (thread,) = tree.mails(tmp_path / "mails")
    cover, mails = thread
    assert cover.read_text().count(USER.partition(" <")[0]) and "***" not in cover.read_text()
    assert f"[PATCH 00/{len(mails)}]" in cover.read_text()
    git(user_tree, "am", "-q", *map(str, mails))
    assert git(user_tree, "rev-parse", "HEAD^{tree}") == git(tree.LINUX, "rev-parse",
                                                             "HEAD^{tree}")
    for mail in mails:
        assert f"\nFrom: {USER}\n" in mail.read_text()
        assert f"\nSigned-off-by: {USER}\n" in mail.read_text()


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """make refresh on copies: a clone of build/BASE/linux, and of what it writes to."""
    return copy_tree(tmp_path, monkeypatch, "/*", "!/*/", *(f"/{path}" for path in PATHS))


def append(path, text):
    """Edit a file."""
    path.write_text(path.read_text() + text)


def commit_edit(linux, name, message):
    """Edit a file of build/BASE/linux, and commit that."""
    append(linux / name, "/* edited */\n")
    git(linux, "commit", "-q", "-a", "-m", message)


def files(top):
    """{name: content} of a folder."""
    return {path.relative_to(top): path.read_bytes() for path in top.rglob("*")
            if path.is_file()}


def test_refresh_changes_nothing_by_itself(copies):
    """What make tree made comes back as the same patches and files, to the byte."""
    _, top = copies
    before = files(top)
    tree.refresh()
    assert files(top) == before


def test_refresh_carries_edits(copies):
    """A commit becomes a patch; a file that it adds is kept whole, with its mode."""
    linux, top = copies
    append(linux / HIBERNATE, "/* edited */\n\n")
    (linux / "arch/arm64/mm/new.c").write_text("/* new */\n")
    script = linux / "tools/testing/selftests/arm64/new.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    git(linux, "add", "-A")
    with pytest.raises(LabError, match="not committed"):
        tree.refresh()
    git(linux, "commit", "-q", "-m", "arm64: an edit\n\nWith a reason.")
    with pytest.raises(LabError, match="new commits"):
        tree.need_no_edits("'make tree'")
    tree.refresh()
    last = tree.SERIES.patches()[-1]
    assert last.message() == "arm64: an edit\n\nWith a reason.\n"
    assert "+/* edited */" in last.diff() and "new.c" not in last.diff()
    assert last.files == ["arch/arm64/mm/new.c", "tools/testing/selftests/arm64/new.sh"]
    assert os.access(top / last.files[1], os.X_OK) and not os.access(top / last.files[0], os.X_OK)
    assert (top / "arch/arm64/mm/new.c").read_text() == "/* new */\n"
    head = tree.commit_series(linux, tree.state()["base"], tree.LAB)
    assert git(linux, "rev-parse", f"{head}^{{tree}}") == git(linux, "rev-parse", "HEAD^{tree}")


def test_file_of_another_path(tmp_path):
    """A whole file that stands at another path in the repository than in the kernel is read from
    there and written there, and the line goes on to say so."""
    order = tmp_path / "patches/v9.9/series"
    order.parent.mkdir(parents=True)
    (order.parent / "0001-a.patch").write_text("Subject: a\n\nb\n---\n")
    order.write_text("# what it is\n0001-a.patch new/a.rst=old/a.rst c.c\n")
    for name in ("old/a.rst", "c.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before\n")
    series = Series(tmp_path, "v9.9")
    assert [patch.files for patch in series.patches()] == [["new/a.rst", "c.c"]]
    assert series.whole("new/a.rst") == tmp_path / "old/a.rst"
    files = {"new/a.rst": ("after\n", "100644"), "c.c": ("before\n", "100644")}
    series.write([Commit("a", "a\n\nb", "", files)])
    assert (tmp_path / "old/a.rst").read_text() == "after\n" and not (tmp_path / "new").exists()
    assert order.read_text() == "# what it is\n0001-a.patch new/a.rst=old/a.rst c.c\n"


def test_refresh_keeps_edits_made_here(copies):
    """A whole file that was edited on this side is not overwritten."""
    linux, top = copies
    commit_edit(linux, HIBERNATE, "arm64: an edit")
    append(tree.SERIES.whole("arch/arm64/mm/trans_pgd.c"), "/* edited here */\n")
    before = files(top)
    with pytest.raises(LabError, match="arch/arm64/mm/trans_pgd.c changed here"):
        tree.refresh()
    assert files(top) == before


def test_refresh_refuses_fixups(copies):
    """A commit that waits for a rebase is no patch."""
    linux, _ = copies
    commit_edit(linux, HIBERNATE, "fixup! arm64: an edit")
    with pytest.raises(LabError, match="autosquash"):
        tree.refresh()


def test_refresh_refuses_two_truths(copies):
    """A whole file has one commit."""
    linux, top = copies
    commit_edit(linux, "arch/arm64/mm/trans_pgd.c", "arm64: an edit of a whole file")
    before = files(top)
    with pytest.raises(LabError, match="two commits"):
        tree.refresh()
    assert files(top) == before


def accept(top):
    """What is in the repository now is what build/BASE/linux was made from."""
    tree.STATE.write_text(json.dumps(tree.state() | {"series": tree.SERIES.state()}))
    return files(top)


def named(words):
    """The patch of the series whose name has these words."""
    (patch,) = [patch for patch in tree.SERIES.patches() if words in patch.path.name]
    return patch


def lend(top, *patches):
    """Make patches of the series those of another base, which the series takes."""
    other = top / "patches" / OTHER
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir(parents=True)
    order = tree.SERIES.order.read_text()
    for patch in patches:
        line = " ".join([patch.path.name, *patch.files])
        assert f"\n{line}\n" in order
        order = order.replace(f"\n{line}\n", f"\n{OTHER}/{patch.path.name}\n")
        with open(other / "series", "a", encoding="utf-8") as series:
            series.write(f"{line}\n")
        patch.path.rename(other / patch.path.name)
    tree.SERIES.order.write_text(order)


def rebuild(linux, onto, *commits):
    """Make commits anew on top of `onto`."""
    git(linux, "checkout", "-q", "-B", tree.BRANCH, onto)
    git(linux, "cherry-pick", *commits)


def commits_named(linux, *subjects):
    """The commits of the series that have one of these words in their subjects, or not."""
    lines = git(linux, "log", "--reverse", "--format=%H %s", "base..HEAD").splitlines()
    chosen = [line.split()[0] for line in lines if any(word in line for word in subjects)]
    return chosen, [line.split()[0] for line in lines if line.split()[0] not in chosen]


def test_patches_of_another_base(copies):
    """A patch that stands in another base's folder makes the same commit, with its whole files;
    refresh leaves it there; a change of it is noticed."""
    linux, top = copies
    lend(top, named("psci"), named("selftests"))
    before = accept(top)
    head = tree.commit_series(linux, tree.state()["base"], tree.LAB)
    assert head == tree.state()["head"]
    tree.refresh()
    assert files(top) == before
    append(top / "patches" / OTHER / named("psci").path.name, "\n")
    assert tree.SERIES.state() != tree.state()["series"]


def test_whole_file_of_another_base(copies):
    """A whole file that another base has in a form of its own comes with its patch. When it is
    edited here, that one stays as it is, and the series gets its own."""
    linux, top = copies
    patch = named("KUnit")
    lend(top, patch)
    name = "arch/arm64/mm/trans_pgd_test.c"
    theirs = top / "patches" / OTHER / "files" / name
    theirs.parent.mkdir(parents=True)
    (top / name).rename(theirs)
    before = accept(top)
    tree.refresh()
    assert files(top) == before
    own, rest = commits_named(linux, "KUnit")
    git(linux, "checkout", "-q", f"{own[0]}")
    append(linux / name, "/* edited */\n")
    git(linux, "commit", "-q", "-a", "--amend", "--no-edit")
    rebuild(linux, "HEAD", *rest[1:])
    tree.refresh()
    assert theirs.read_bytes() == before[theirs.relative_to(top)]
    assert (tree.SERIES.folder / "files" / name).read_text().endswith("/* edited */\n")
    assert not (top / name).exists()
    assert f"{OTHER}/{patch.path.name}" in tree.SERIES.order.read_text()


def test_patch_becomes_own(copies, capsys):
    """What differs from another base's patch becomes a patch here, and is named; the other's
    folder stays as it is."""
    linux, top = copies
    lend(top, named("psci"), named("selftests"))
    before = accept(top)
    commit_edit(linux, "drivers/firmware/psci/psci.c", "edit")
    chosen, rest = commits_named(linux, "psci")
    git(linux, "reset", "-q", "--hard", "HEAD^")
    edit = git(linux, "rev-parse", "ORIG_HEAD")
    at = rest.index(next(commit for commit in rest if git(
        linux, "rev-parse", f"{commit}^") == chosen[0]))
    git(linux, "checkout", "-q", chosen[0])
    git(linux, "cherry-pick", "-n", edit)
    git(linux, "commit", "-q", "--amend", "--no-edit")
    rebuild(linux, "HEAD", *[commit for commit in rest[at:] if commit != edit])
    tree.refresh()
    said = capsys.readouterr().out
    assert "'firmware: psci: tell how SYSTEM_RESET is called' is now a patch of v5.10's own" in said
    assert "differ: drivers/firmware/psci/psci.c" in said
    assert "/* edited */" in named("psci").diff()
    assert named("psci").path.parent == tree.SERIES.folder
    assert named("selftests").path.parent.name == OTHER
    after = files(top)
    assert {name: text for name, text in before.items() if OTHER in name.parts} == {
        name: text for name, text in after.items() if OTHER in name.parts}


def taken_by_other(top):
    """Give another base a series that takes a patch of this one, and return its order."""
    (top / "patches" / OTHER).mkdir(parents=True)
    order = top / "patches" / OTHER / "series"
    order.write_text(f"[mends]\nv5.10/{named('psci').path.name}\n")
    return order


def test_refresh_follows_new_names(copies):
    """A patch whose number changes is still the one that another base takes."""
    linux, top = copies
    order = taken_by_other(top)
    name = named("psci").path.name
    commits = commits_named(linux, "")[0]
    git(linux, "checkout", "-q", "base")
    commit_edit(linux, HIBERNATE, "arm64: an edit")
    rebuild(linux, "HEAD", *commits)
    tree.refresh()
    assert named("psci").path.name != name
    assert order.read_text() == f"[mends]\nv5.10/{named('psci').path.name}\n"


def test_refresh_loses_no_patch_of_others(copies):
    """A patch that another base takes cannot go away."""
    linux, top = copies
    order = taken_by_other(top)
    before = files(top)
    git(linux, "reset", "-q", "--hard", commits_named(linux, "psci")[0][0] + "^")
    with pytest.raises(LabError, match=f"{order.relative_to(top)} takes v5.10/0012"):
        tree.refresh()
    assert files(top) == before


def test_dead_names(copies):
    """What another base's series does not name cannot be taken."""
    _, top = copies
    (top / "patches" / OTHER).mkdir(parents=True)
    append(tree.SERIES.order, f"{OTHER}/0001-none.patch\n")
    with pytest.raises(LabError, match=f"{OTHER}/0001-none.patch, which patches/{OTHER}/series"):
        tree.SERIES.patches()


def in_threads(count):
    """Make the first patches of the series a thread of its own."""
    first = tree.SERIES.patches()[0].path.name
    after = tree.SERIES.patches()[count].path.name
    tree.SERIES.order.write_text(
        tree.SERIES.order.read_text().replace(first, f"[mends]\n{first}").replace(
            f"\n{after}", f"\n[]\n{after}"))
    (tree.SERIES.folder / "cover-letter.mends").write_text("Subject: mends\n\nWhy.\n")


def test_threads(copies, user_tree, tmp_path):
    """Each thread is numbered by itself, and has its cover letter; the second names the patches of
    the first as git knows them. git am of both gives the series. refresh keeps them."""
    linux, top = copies
    in_threads(3)
    before = accept(top)
    mends, rest = tree.write_mails(tmp_path / "mails", tree.user())
    count = len(tree.SERIES.patches())
    assert mends.cover == tmp_path / "mails/mends/cover-letter.mail"
    assert rest.cover == tmp_path / "mails/cover-letter.mail"
    assert "[PATCH 0/3] mends" in mends.cover.read_text()
    assert f"[PATCH 00/{count - 3}]" in rest.cover.read_text()
    assert [len(thread.mails) for thread in (mends, rest)] == [3, count - 3]
    assert "prerequisite" not in mends.cover.read_text()
    assert "with 'mends':" in rest.cover.read_text()
    known = git(linux, "format-patch", "--stdout", "--base=base", "HEAD~13..HEAD~12")
    wanted = [line for line in known.splitlines() if line.startswith("prerequisite-patch-id: ")]
    assert len(wanted) == 3 and "\n".join(wanted) in rest.cover.read_text()
    git(user_tree, "am", "-q", *map(str, tree.all_mails([mends, rest])))
    assert git(user_tree, "rev-parse", "HEAD^{tree}") == git(linux, "rev-parse", "HEAD^{tree}")
    tree.refresh()
    assert files(top) == before


def test_threads_keep_their_patches(copies):
    """A new commit is in the thread of the one before it."""
    linux, top = copies
    in_threads(3)
    accept(top)
    commits = commits_named(linux, "")[0]
    git(linux, "checkout", "-q", commits[2])
    commit_edit(linux, "arch/arm64/kernel/smp.c", "arm64: an edit")
    rebuild(linux, "HEAD", *commits[3:])
    tree.refresh()
    threads = tree.SERIES.threads()
    assert [len(patches) for patches in threads.values()] == [4, len(commits) - 3]
    assert threads["mends"][3].subject == "arm64: an edit"


def test_thread_without_cover_letter(copies):
    """A thread needs words of its own."""
    in_threads(3)
    (tree.SERIES.folder / "cover-letter.mends").unlink()
    with pytest.raises(LabError, match="cover-letter.mends is missing"):
        tree.SERIES.cover("mends")
