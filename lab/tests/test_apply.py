# SPDX-License-Identifier: GPL-2.0-only
"""make apply on trees that are not the base. It lists all that is in the way, and leaves the tree
alone. The changes that vendors are known to have do not stop it."""

import os
import re
import subprocess
import sys

import pytest

from lab import apply, tree
from lab.tests.conftest import git
from lab.util import TOP, output

HIBERNATE = "arch/arm64/kernel/hibernate.c"
PSCI = "drivers/firmware/psci/psci.c"
RELOCATE = "arch/arm64/kernel/relocate_kernel.S"
KEXEC = "arch/arm64/kernel/machine_kexec.c"
# What make apply reads, and only that: git is quick in a small tree.
PATHS = ["Makefile", "arch/Kconfig", "arch/arm64/include", "include", "arch/arm64/mm",
         "kernel/*.[ch]", *apply.REPLACED]

pytestmark = pytest.mark.usefixtures("git_user")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A git tree of the base with what make apply reads, on the branch `mine`."""
    where = tmp_path_factory.mktemp("apply") / "small"
    git(where.parent, "clone", "-q", "--shared", "--no-checkout", tree.LINUX, where)
    listed = output(["git", "ls-tree", "-r", "base"], cwd=where)
    git(where, "read-tree", "base")
    wanted = git(where, "ls-files", "--", *PATHS, *sorted(tree.SERIES.touched())).split()
    names = dict(line.partition("\t")[::-2] for line in listed.splitlines())
    git(where, "read-tree", "--empty")
    output(["git", "update-index", "--index-info"], cwd=where,
           stdin="".join(f"{names[name]}\t{name}\n" for name in wanted))
    commit = git(where, "commit-tree", "-m", "the base", git(where, "write-tree"))
    git(where, "checkout", "-q", "-f", "-B", "mine", commit)
    return where


@pytest.fixture
def user_tree(small, tmp_path):
    """A user's own tree: the base, without the series."""
    git(tmp_path, "clone", "-q", "--shared", "-b", "mine", small, "user")
    return tmp_path / "user"


def run(where, **env):
    """make apply, as a user would run it."""
    return subprocess.run([sys.executable, "-m", "lab.apply"], cwd=TOP, check=False,
                          env={**os.environ, "LINUX": str(where), **env},
                          capture_output=True, text=True)


def edit(where, name, *changes):
    """Commit a vendor's change of a file: (old, new) texts, of which the old has to be there."""
    text = (where / name).read_text()
    for old, new in changes:
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    (where / name).write_text(text)
    git(where, "commit", "-q", "-a", "-m", f"a vendor's change of {name}")


def alone(where):
    """A clone of a user's tree that lacks, as a real one does, the base's version of each changed
    file."""
    clone = where.with_name("alone")
    git(where, "clone", "-q", "--depth=1", f"file://{where}", clone)
    return clone


def snapshot(where):
    """All that a command which fails must not change."""
    return (git(where, "symbolic-ref", "HEAD"), git(where, "for-each-ref"),
            git(where, "status", "--porcelain"), git(where, "count-objects", "-v"))


def refused(where):
    """What make apply says of a tree that it leaves as it was."""
    before = snapshot(where)
    done = run(where)
    assert done.returncode == 1, done.stdout
    assert snapshot(where) == before
    return done.stderr


def has_series(where):
    """Whether a tree has what the series makes of the base."""
    names = sorted(tree.SERIES.touched())
    return (git(where, "ls-tree", "-r", "HEAD", "--", *names)
            == git(tree.LINUX, "ls-tree", "-r", tree.state()["head"], "--", *names))


def test_apply(user_tree, monkeypatch):
    """The series is on a new branch, by that tree's user. The user's own branch
    stays where it was."""
    for key in ("COUNT", "KEY_0", "VALUE_0", "KEY_1", "VALUE_1"):
        monkeypatch.delenv(f"GIT_CONFIG_{key}")
    git(user_tree, "config", "user.name", "Local User")
    git(user_tree, "config", "user.email", "local@localhost")
    before = git(user_tree, "rev-parse", "mine")
    done = run(user_tree)
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stdout
    assert git(user_tree, "symbolic-ref", "--short", "HEAD") == apply.BRANCH
    assert has_series(user_tree) and not git(user_tree, "status", "--porcelain")
    assert git(user_tree, "rev-parse", "mine") == before
    assert git(user_tree, "log", "-1", "--format=%an <%ae>%n%b").count("Local User") == 2
    again = run(user_tree)
    assert again.returncode == 1 and "is there already" in again.stderr


SHAPES = {
    # Android's trees, and with them Rockchip's and others: a restart handler.
    "notifier": {PSCI: [
        ("static void psci_sys_reset(enum reboot_mode reboot_mode, const char *cmd)",
         "static int psci_sys_reset(struct notifier_block *block, unsigned long mode,\n"
         "\t\t\t  void *cmd)"),
        ("SYSTEM_RESET, 0, 0, 0);\n\t}\n}\n",
         "SYSTEM_RESET, 0, 0, 0);\n\t}\n\n\treturn NOTIFY_DONE;\n}\n\n"
         "static struct notifier_block reset_block = {\n\t.notifier_call = psci_sys_reset,\n};\n"),
        ("\tarm_pm_restart = psci_sys_reset;\n",
         "\tregister_restart_handler(&reset_block);\n")]},
    # One key for user space and one for the kernel.
    "ptrauth": {"arch/arm64/kernel/asm-offsets.c": [
        (f"  DEFINE(PTRAUTH_USER_KEY_AP{key},\t\toffsetof(struct ptrauth_keys_user, "
         f"ap{key.lower()}));\n", "") for key in ("IB", "DA", "DB", "GA")]},
    # Compilers that check indirect calls: what calls a physical address is not checked.
    "nocfi": {
        HIBERNATE: [("int swsusp_arch_resume(void)\n", "int __nocfi swsusp_arch_resume(void)\n")],
        "arch/arm64/kernel/cpu-reset.h": [
            ("static inline void __noreturn cpu_soft_restart(unsigned long entry,",
             "static inline void __noreturn __nocfi cpu_soft_restart(unsigned long entry,"),
            ("(void *)__pa_symbol(__cpu_soft_restart);",
             "(void *)__pa_symbol(function_nocfi(__cpu_soft_restart));")]},
    # An #include between two that the base has side by side.
    "include": {KEXEC: [("#include <linux/page-flags.h>\n",
                         "#include <linux/nmi.h>\n#include <linux/page-flags.h>\n")]},
    # Plain v5.10 before 5.10.163.
    "mutex": {"kernel/kexec_internal.h": [
        ("\n/*\n * Whatever is used to serialize accesses to the kexec_crash_image needs to be\n"
         " * NMI safe, as __crash_kexec() can happen during nmi_panic(), so here we use a\n"
         " * \"simple\" atomic variable that is acquired with a cmpxchg().\n */\n"
         "extern atomic_t __kexec_lock;\n", "\nextern struct mutex kexec_mutex;\n")]},
}

# The call in cpu_soft_restart() that the series changes is three lines below the one that vendors
# change, and cannot be elsewhere.
REDUCED = {"nocfi": ["arch/arm64/kernel/cpu-reset.h"]}


@pytest.mark.parametrize("shape", SHAPES)
def test_shape(user_tree, shape):
    """Vendors' changes leave the context of every hunk whole. The exceptions are known, and make
    apply names them."""
    for name, changes in SHAPES[shape].items():
        edit(user_tree, name, *changes)
    done = run(user_tree)
    assert done.returncode == 0, done.stderr
    reduced = re.findall(r"(\S+): hunk .* of context", done.stdout)
    assert reduced == REDUCED.get(shape, []), done.stdout
    for name, changes in SHAPES[shape].items():
        text = (user_tree / name).read_text()
        assert all(new in text for _, new in changes), f"{name}: a vendor's change is lost"
    assert git(user_tree, "rev-list", "--count", "mine..HEAD") == str(len(tree.SERIES.patches()))


def test_all_conflicts_at_once(user_tree):
    """Each conflict is listed, with the patch and the file. A later hunk that fails only because
    of an earlier conflict is not."""
    edit(user_tree, HIBERNATE, ("static int trans_pgd_map_page(", "static int renamed("))
    edit(user_tree, PSCI, ("static int get_set_conduit_method(struct device_node *np)",
                           "static int get_set_conduit(struct device_node *np)"))
    edit(user_tree, KEXEC, (" * kexec_list_flush - Helper", " * kexec_list_flush - A helper"))
    said = refused(user_tree)
    found = re.findall(r"^  \d+-(\w+-\w+-\w+)\S+\.patch: (\S+): hunk \d+ of \d+, ", said,
                       re.MULTILINE)
    assert found == [("arm64-hibernate-use", HIBERNATE), ("arm64-kexec-build", KEXEC),
                     ("firmware-psci-tell", PSCI)], said
    # What later patches change in the function that the second would add.
    assert re.search(r"and [2-9] hunks of later patches", said) and "KEEP=1" in said, said


def test_line_that_differs(user_tree):
    """Of each conflict the user gets the line that the series expects and the line that is there,
    with the number that this line has in the user's own file. That holds for a file that earlier
    patches have changed too."""
    edit(user_tree, PSCI, ("static int get_set_conduit_method(struct device_node *np)",
                           "static int get_set_conduit(struct device_node *np)"))
    edit(user_tree, KEXEC, (" * kexec_list_flush - Helper", " * kexec_list_flush - A helper"))
    said = refused(user_tree)
    for name, old, new in (
            (PSCI, "static int get_set_conduit_method(struct device_node *np)",
             "static int get_set_conduit(struct device_node *np)"),
            (KEXEC,
             " * kexec_list_flush - Helper to flush the kimage list and source pages to PoC.",
             " * kexec_list_flush - A helper to flush the kimage list and source pages to PoC.")):
        number = (user_tree / name).read_text().split("\n").index(new) + 1
        assert re.search(rf"{name}: hunk .*, near line {number} of your file: .*\n"
                         rf"    expected: {re.escape(repr(old))}\n"
                         rf"    found:    {re.escape(repr(new))}\n", said), said


HUNK = apply.Hunk(4, [" one = 1;", " two = 2;", "-three = 3;", "+three = 0;", " four = 4;", " }"],
                  "f")


@pytest.mark.parametrize("lines, found", [
    (["one = 1;", "two = 2;", "three = 3; /* kept */", "four = 4;", "}"], ("three = 3;", 8)),
    # One line more, and one line less
    (["one = 1;", "two = 2;", "more();", "three = 3;", "four = 4;", "}"], ("three = 3;", 8)),
    (["one = 1;", "two = 2;", "three = 3;", "}", "", ""], ("four = 4;", 9)),
    # Other code that ends as all code does
    (["a();", "b();", "c();", "d();", "}"], None)])
def test_differs(lines, found):
    """The first line that differs is told where most of the lines are there, and only there."""
    text = ["", "}", "", "five();", "", "}", *lines, "", "}"]
    assert HUNK.differs(text) == found


def test_less_context(user_tree):
    """A hunk whose outer line of context a vendor has changed still applies, and is named."""
    edit(user_tree, PSCI, ("\n\tpsci_conduit = conduit;\n}\n",
                           "\n\tpsci_conduit = conduit; /* kept */\n}\n"))
    done = run(user_tree)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "of context" in line]
    assert "firmware-psci" in line and f"{PSCI}: hunk 1 of 1" in line
    assert "2 lines of context instead of 3" in line
    text = (user_tree / PSCI).read_text()
    assert "/* kept */" in text and "psci_reset_conduit(void)" in text


def test_less_context_of_two_places(user_tree):
    """With less context, no place is taken if there are two."""
    lines = "}\n\nstatic int get_set_conduit_method(struct device_node *np)\n{\n"
    edit(user_tree, PSCI, ("\n\tpsci_conduit = conduit;\n}\n",
                           "\n\tpsci_conduit = conduit; /* kept */\n}\n"),
         ("#ifdef CONFIG_CPU_IDLE\n", f"#if 0\n{lines}\tconst char *method;\n}}\n#endif\n"
          "#ifdef CONFIG_CPU_IDLE\n"))
    said = refused(user_tree)
    assert re.search(rf"{PSCI}: hunk 1 of 1, .*: with 2 lines of context it fits 2 places", said)


def test_replaced_file(user_tree):
    """A file that the series replaces whole, and that a vendor has changed, is a conflict."""
    (user_tree / RELOCATE).write_text((user_tree / RELOCATE).read_text() + "/* a vendor's */\n")
    git(user_tree, "commit", "-q", "-a", "-m", "a vendor's change")
    said = refused(user_tree)
    assert f"{RELOCATE}: the series replaces this file" in said and "KEEP=1" in said


def test_replaced_files():
    """All files that the series replaces are known, as the base has them."""
    for patch in tree.SERIES.patches():
        for name in patch.files:
            found = git(tree.LINUX, "ls-tree", "base", "--", name).split()
            assert bool(found) == (name in apply.REPLACED), name
            assert not found or found[2] in apply.REPLACED[name], name


def test_added_file(user_tree):
    """A file that the series adds, and that the tree has already, is a conflict."""
    name = "arch/arm64/mm/trans_pgd.c"
    (user_tree / name).write_text("/* from somewhere else */\n")
    git(user_tree, "add", name)
    git(user_tree, "commit", "-q", "-m", "a backport")
    assert f"{name}: the series adds this file" in refused(user_tree)


def crlf(where, *names):
    """Commit CRLF line ends of files."""
    for name in names:
        path = where / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    git(where, "commit", "-q", "-a", "-m", "CRLF")


def test_line_ends(user_tree):
    """In a tree with CRLF line ends, that is all that is in the way. The remedy that the error
    names works, and changes no file but those of the series."""
    crlf(user_tree, *git(user_tree, "ls-files", "arch", "kernel", "drivers").split())
    said = refused(user_tree)
    assert "CRLF line ends" in said and said.count("\n") == 3, said
    subprocess.run(said.partition("in the tree: ")[2], shell=True, cwd=user_tree, check=True,
                   stdout=subprocess.DEVNULL)
    assert set(git(user_tree, "diff", "--name-only", "HEAD^").split()) <= tree.SERIES.touched()
    done = run(user_tree)
    assert done.returncode == 0 and has_series(user_tree), done.stderr


def test_line_ends_and_conflicts(user_tree):
    """CRLF line ends of one file do not keep other conflicts from being listed, and those of a file
    that the series leaves alone do not matter. KEEP=1 does not help against them."""
    edit(user_tree, PSCI, ("static int get_set_conduit_method(struct device_node *np)",
                           "static int get_set_conduit(struct device_node *np)"))
    crlf(user_tree, RELOCATE, KEXEC, "kernel/fork.c")
    said = refused(user_tree)
    assert f"{KEXEC}, {RELOCATE}: CRLF line ends" in said and "fork.c" not in said, said
    assert re.findall(r"^  \S+: (\S+): hunk", said, re.MULTILINE) == [PSCI], said
    assert "replaces this file" not in said
    before = snapshot(user_tree)
    done = run(user_tree, KEEP="1")
    assert done.returncode == 1 and "sed -i" in done.stderr and snapshot(user_tree) == before


def test_missing_name(user_tree):
    """A name that the series needs and the tree lacks is reported, with what the tree has
    instead."""
    renamed = {name: "dcache_clean_inval_poc" for name in git(
        user_tree, "grep", "-l", "-w", "__flush_dcache_area", "--", "arch", "include").split()}
    for name in renamed:
        path = user_tree / name
        path.write_text(re.sub(r"\b__flush_dcache_area\b", renamed[name], path.read_text()))
    edit(user_tree, "arch/arm64/include/asm/sysreg.h",
         ("SCTLR_ELx_IESB", "SCTLR_IESB_OF_A_VENDOR"))
    said = refused(user_tree)
    assert re.search(r"mm/trans_pgd\.c of the series: no __flush_dcache_area in the tree; "
                     r".*dcache_clean_inval_poc\(start, end\)", said), said
    assert f"{RELOCATE} of the series: no SCTLR_ELx_IESB in" in said
    assert said.count("of the series: no ") == 2 and "KEEP=1" in said, said


def test_options(user_tree):
    """What the series copes with is a note, and no error."""
    (user_tree / "lib").mkdir(exist_ok=True)
    (user_tree / "lib/Kconfig.kfence").write_text("menuconfig KFENCE\n\tbool\n")
    git(user_tree, "add", "-f", "lib")
    edit(user_tree, "arch/Kconfig", ("config SECCOMP\n", "config CFI_CLANG\n\tbool\n\n"
                                     "config SECCOMP\n"))
    done = run(user_tree)
    assert done.returncode == 0, done.stderr
    assert "note: the tree has CONFIG_CFI_CLANG" in done.stdout
    assert "note: the tree has CONFIG_KFENCE" in done.stdout


def test_needs_a_clean_tree(user_tree):
    """What is not committed is somebody's work."""
    path = user_tree / HIBERNATE
    path.write_text(path.read_text() + "\n")
    assert "not committed" in refused(user_tree)


def test_untracked_file_in_the_way(user_tree):
    """A file that git does not know is not overwritten."""
    path = user_tree / "arch/arm64/mm/trans_pgd.c"
    path.write_text("/* a draft */\n")
    done = run(user_tree)
    assert done.returncode == 1 and "trans_pgd.c" in done.stderr
    assert path.read_text() == "/* a draft */\n"
    assert git(user_tree, "symbolic-ref", "--short", "HEAD") == "mine"
    assert not git(user_tree, "branch", "--list", apply.BRANCH)


@pytest.mark.parametrize("make, says", [
    (lambda path: None, "no such directory"),
    (lambda path: path.mkdir(), "not a Linux source tree"),
    (lambda path: path.write_text(""), "not a directory"),
])
def test_bad_linux(tmp_path, make, says):
    """A LINUX= that is no kernel tree is one line that says so."""
    make(tmp_path / "linux")
    done = run(tmp_path / "linux")
    assert done.returncode == 1
    assert says in done.stderr and done.stderr.count("\n") == 1, done.stderr


def resolve(where):
    """Do what make apply says after KEEP=1: take both sides of each conflict, mark it as resolved
    and go on. Return what had to be resolved."""
    resolved = []
    while (where / git(where, "rev-parse", "--git-path", "rebase-apply")).is_dir():
        names = git(where, "diff", "--name-only", "--diff-filter=U").split()
        assert names, git(where, "status")
        for name in names:
            path = where / name
            text = path.read_text()
            assert "<<<<<<< " in text
            # What the series has there, and what the vendor has said besides.
            path.write_text(re.sub(r"<<<<<<< .*\n((?:.*\n)*?)=======\n((?:.*\n)*?)>>>>>>> .*\n",
                                   lambda m: m[2] + (m[1] if "vendor" in m[1] else ""), text))
        git(where, "add", *names)
        resolved += names
        subprocess.run(["git", "am", "--continue"], cwd=where, check=False, capture_output=True,
                       env={**os.environ, "GIT_EDITOR": "true"})
    return resolved


def test_keep(user_tree):
    """With KEEP=1 git am stops at each conflict, with both sides in the file. Once they are
    resolved, the whole series is there, and the vendor's change too."""
    edit(user_tree, PSCI, ("\tpsci_conduit = conduit;\n}\n\n",
                           "\tpsci_conduit = conduit;\n}\n\n/* a vendor's */\n"))
    edit(user_tree, RELOCATE, ("#include <asm/assembler.h>\n",
                               "#include <asm/assembler.h> /* of a vendor */\n"))
    user_tree = alone(user_tree)
    done = run(user_tree, KEEP="1")
    assert done.returncode == 1
    assert "git am --continue" in done.stderr and f"branch -D {apply.BRANCH}" in done.stderr
    assert git(user_tree, "symbolic-ref", "--short", "HEAD") == apply.BRANCH
    assert sorted(set(resolve(user_tree))) == sorted([PSCI, RELOCATE])
    assert git(user_tree, "rev-list", "--count", "mine..HEAD") == str(len(tree.SERIES.patches()))
    text = (user_tree / RELOCATE).read_text()
    assert "of a vendor" in text and "arm64_relocate_new_kernel_end" in text
    text = (user_tree / PSCI).read_text()
    assert "/* a vendor's */" in text and "psci_reset_conduit(void)" in text
    assert not git(user_tree, "status", "--porcelain")


def test_keep_can_be_given_up(user_tree):
    """What make apply says for the way back leads back."""
    edit(user_tree, HIBERNATE, ("static int trans_pgd_map_page(", "static int renamed("))
    user_tree = alone(user_tree)
    before = snapshot(user_tree)
    done = run(user_tree, KEEP="1")
    [line] = re.findall(r"^  To give up: (.*)$", done.stderr, re.MULTILINE)
    subprocess.run(line, shell=True, cwd=user_tree, check=True, capture_output=True)
    assert snapshot(user_tree)[:3] == before[:3]


def test_mails_merge(user_tree, tmp_path):
    """The way by hand in lab/README.md: git am -3 merges with the files of base.bundle where git
    am of the same mails stops."""
    edit(user_tree, PSCI, ("\n\tpsci_conduit = conduit;\n}\n",
                           "\n\tpsci_conduit = conduit; /* kept */\n}\n"))
    user_tree = alone(user_tree)
    mails = tree.all_mails(tree.mails(tmp_path / "mails"))
    git(user_tree, "fetch", "-q", tmp_path / "mails/base.bundle", tree.BUNDLED)
    git(user_tree, "am", "-q", "-3", *mails)
    text = (user_tree / PSCI).read_text()
    assert "/* kept */" in text and "psci_reset_conduit(void)" in text
