# SPDX-License-Identifier: GPL-2.0-only
"""make series, apply, refresh and tree on real trees: what they do, and what they
leave alone when they cannot."""

import os
import subprocess
import sys

import pytest

from lab import tree
from lab.tests.conftest import copy_tree, git
from lab.util import TOP, LabError

# All that the series touches, and the top level, which tells the version.
PATHS = ["arch/arm64", "drivers/firmware", "include/linux", "kernel", "Documentation/arm64",
         "tools/testing/selftests/arm64"]
USER = "A User <user@localhost>"
HIBERNATE = "arch/arm64/kernel/hibernate.c"


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    """git knows the user, whether or not it does outside the tests."""
    name, address = USER.rstrip(">").split(" <")
    for key, value in {"COUNT": "2", "KEY_0": "user.name", "VALUE_0": name,
                       "KEY_1": "user.email", "VALUE_1": address}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{key}", value)


@pytest.fixture
def user_tree(tmp_path):
    """A user's own tree: the base, without the series, of the folders concerned."""
    where = tmp_path / "user"
    git(tmp_path, "clone", "-q", "--shared", "--no-checkout", str(tree.LINUX), str(where))
    git(where, "sparse-checkout", "set", *PATHS)
    git(where, "checkout", "-q", "-b", "mine", tree.state()["base"])
    return where


def apply(where):
    """make apply, as a user would run it."""
    return subprocess.run([sys.executable, "-m", "lab.tree", "apply"], cwd=TOP, check=False,
                          env={**os.environ, "LINUX": str(where)}, capture_output=True, text=True)


def snapshot(where):
    """All that a command which fails must not change."""
    return (git(where, "symbolic-ref", "HEAD"), git(where, "for-each-ref"),
            git(where, "status", "--porcelain"), git(where, "count-objects", "-v"))


def test_mails_make_the_same_tree(user_tree, tmp_path):
    """git am of the mails gives what make tree gives; each is signed off by its author. The
    cover letter is from the same, and nothing in it was left to fill in."""
    cover, *mails = tree.mails(tmp_path / "mails")
    assert cover.read_text().count(USER.partition(" <")[0]) and "***" not in cover.read_text()
    assert f"[PATCH 00/{len(mails)}]" in cover.read_text()
    git(user_tree, "am", "-q", *map(str, mails))
    assert git(user_tree, "rev-parse", "HEAD^{tree}") == git(tree.LINUX, "rev-parse",
                                                             "HEAD^{tree}")
    for mail in mails:
        assert f"\nFrom: {USER}\n" in mail.read_text()
        assert f"\nSigned-off-by: {USER}\n" in mail.read_text()


def test_apply(user_tree, monkeypatch):
    """The series is a new branch, by who the user is in that tree; the user's own branch
    stays where it was."""
    for key in ("COUNT", "KEY_0", "VALUE_0", "KEY_1", "VALUE_1"):
        monkeypatch.delenv(f"GIT_CONFIG_{key}")
    git(user_tree, "config", "user.name", "Local User")
    git(user_tree, "config", "user.email", "local@localhost")
    before = git(user_tree, "rev-parse", "mine")
    done = apply(user_tree)
    assert done.returncode == 0, done.stderr
    assert git(user_tree, "symbolic-ref", "--short", "HEAD") == "trans_pgd-v5.10"
    assert git(user_tree, "rev-parse", "HEAD^{tree}") == git(tree.LINUX, "rev-parse",
                                                             "HEAD^{tree}")
    assert git(user_tree, "rev-parse", "mine") == before
    assert git(user_tree, "log", "-1", "--format=%an <%ae>%n%b").count("Local User") == 2
    again = apply(user_tree)
    assert again.returncode == 1 and "is there already" in again.stderr


def test_apply_conflict(user_tree):
    """A conflict names the patch and the file, and leaves the tree untouched."""
    path = user_tree / HIBERNATE
    path.write_text(path.read_text().replace("static int trans_pgd_map_page(", "int renamed("))
    git(user_tree, "commit", "-q", "-a", "-m", "a vendor's change")
    before = snapshot(user_tree)
    done = apply(user_tree)
    assert done.returncode == 1
    assert "hibernate-use-the-transitional" in done.stderr and HIBERNATE in done.stderr, done.stderr
    assert snapshot(user_tree) == before


def test_apply_needs_a_clean_tree(user_tree):
    """What is not committed is somebody's work."""
    append(user_tree / HIBERNATE, "\n")
    before = snapshot(user_tree)
    done = apply(user_tree)
    assert done.returncode == 1 and "not committed" in done.stderr
    assert snapshot(user_tree) == before


@pytest.mark.parametrize("make, says", [
    (lambda path: None, "no such directory"),
    (lambda path: path.mkdir(), "not a Linux source tree"),
    (lambda path: path.write_text(""), "not a directory"),
])
def test_bad_linux(tmp_path, make, says):
    """A LINUX= that is no kernel tree is one line that says so."""
    make(tmp_path / "linux")
    done = apply(tmp_path / "linux")
    assert done.returncode == 1
    assert says in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """make refresh on copies: a clone of build/linux, and of what it writes to."""
    return copy_tree(tmp_path, monkeypatch, "/*", "!/*/", *(f"/{path}" for path in PATHS))


def append(path, text):
    """Edit a file."""
    path.write_text(path.read_text() + text)


def commit_edit(linux, name, message):
    """Edit a file of build/linux, and commit that."""
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
    """A commit becomes a patch; a file that it adds is kept whole."""
    linux, top = copies
    append(linux / HIBERNATE, "/* edited */\n\n")
    (linux / "arch/arm64/mm/new.c").write_text("/* new */\n")
    git(linux, "add", "-A")
    with pytest.raises(LabError, match="not committed"):
        tree.refresh()
    git(linux, "commit", "-q", "-m", "arm64: an edit\n\nWith a reason.")
    with pytest.raises(LabError, match="new commits"):
        tree.need_no_edits("'make tree'")
    tree.refresh()
    last = tree.series()[-1]
    assert last.message() == "arm64: an edit\n\nWith a reason.\n"
    assert "+/* edited */" in last.diff() and "new.c" not in last.diff()
    assert last.files == ["arch/arm64/mm/new.c"]
    assert (top / "arch/arm64/mm/new.c").read_text() == "/* new */\n"
    head = tree.commit_series(linux, tree.state()["base"], tree.LAB)
    assert git(linux, "rev-parse", f"{head}^{{tree}}") == git(linux, "rev-parse", "HEAD^{tree}")


def test_refresh_keeps_edits_made_here(copies):
    """A whole file that was edited on this side is not overwritten."""
    linux, top = copies
    commit_edit(linux, HIBERNATE, "arm64: an edit")
    append(top / "arch/arm64/mm/trans_pgd.c", "/* edited here */\n")
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
