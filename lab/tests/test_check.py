# SPDX-License-Identifier: GPL-2.0-only
"""`make check` finds nothing in the series and the lab as they are, and finds each of the faults
that are made here on purpose."""

import pytest

from lab import check, tree
from lab.base import V5_10
from lab.tests.conftest import copy_tree, git
from lab.util import output

# What the checks of the series read, besides what the series touches, and what checkpatch
# knows a kernel by.
PATHS = ["/*", "!/*/", "/scripts", "/Documentation/conf.py", "/Documentation/sphinx",
         f"/{V5_10.documentation}", "/Documentation/admin-guide/kdump", "/fs/Makefile",
         "/drivers/Makefile", "/include/asm-generic/Kbuild", "/init/Makefile", "/ipc/Makefile",
         "/kernel/Makefile", "/lib/Makefile"]
BROKEN_C = """
/**
 * broken() - a function
 */
int broken(int x)
{
  return x;
}
"""
# (check, file, its text, what is said of it)
BROKEN = [
    ("lab_c", "a.c", "// SPDX-License-Identifier: GPL-2.0-only\nint f(int *a) {\n\treturn *a;\n}\n",
     "OPEN_BRACE"),
    ("shell", "a.sh", "#!/bin/sh\nrm $1\n", "SC2086"),
    ("python", "a.py", "import os\n", "F401"),
    ("white_space", "a.txt", "a \n", "white space at the end"),
    ("white_space", "a.txt", "a", "not one line's end"),
    ("white_space", "a.patch", "+a \n", "white space at the end"),
    ("licences", "a.py", "# a\n\n\n# SPDX-License-Identifier: GPL-2.0-only\n", "no SPDX"),
]


@pytest.mark.parametrize("function", check.CHECKS, ids=lambda function: function.__name__)
def test_check(function):
    """The tool has nothing to complain about."""
    assert not function()


@pytest.mark.parametrize("name, file, text, says", BROKEN)
def test_broken_file(name, file, text, says, tmp_path, monkeypatch):
    """The check complains about a broken file of the lab."""
    (tmp_path / file).write_text(text)
    monkeypatch.setattr(check, "TOP", tmp_path)
    monkeypatch.setattr(check, "own_files", lambda *_: [tmp_path / file])
    assert says in "\n".join(getattr(check, name)())


def test_circle(tmp_path, monkeypatch):
    """Files that import each other are a complaint that names them. An import in a function, or
    written in another way, counts too."""
    names = ["lab/__init__.py", "lab/a.py", "lab/b/__init__.py", "lab/b/c.py"]
    texts = ["", "from lab.b import c\n", "", "def late():\n    import lab.a\n"]
    for name, text in zip(names, texts):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(check, "TOP", tmp_path)
    monkeypatch.setattr(check, "own_files", lambda *_: [tmp_path / name for name in names])
    (said,) = check.imports()
    assert "lab.a" in said and "lab.b.c" in said
    (tmp_path / names[-1]).write_text("import os\n")
    assert not check.imports()


def test_broken_series(tmp_path, monkeypatch):
    """Each check complains about what is wrong in the last commit of a broken series, and
    about an exception for what checkpatch does not say."""
    names = (f"/{name}" for name in tree.SERIES.touched())
    copy, top = copy_tree(tmp_path, monkeypatch, *PATHS, *names)
    monkeypatch.setattr(check, "HERE", tmp_path)
    accepted = top / "checkpatch.toml"
    accepted.write_text(check.ACCEPTED.read_text()
                        + '[[accepted]]\ntype = "NONE"\nfile = "kernel/none.c"\n'
                          'bases = ["v5.10"]\n')
    monkeypatch.setattr(check, "ACCEPTED", accepted)
    monkeypatch.setattr(check, "TOP", top)
    (copy / "arch/arm64/mm/broken.c").write_text(BROKEN_C)
    (copy / V5_10.documentation / "broken.rst").write_text("Broken\n======\n\n``no end\n")
    git(copy, "add", "--sparse", "-A", "arch/arm64/mm", V5_10.documentation)
    git(copy, "commit", "-q", "-m", "arm64: broken\n\nFor the test.")
    tree.refresh()
    said = {function.__name__: "\n".join(function()) for function in
            (check.checkpatch, check.kernel_doc, check.documentation, check.maintainers)}
    assert "arch/arm64/mm/broken.c:7: LEADING_SPACE" in said["checkpatch"]
    assert "arch/arm64/mm/broken.c: warning: Function parameter or member 'x'" in said["kernel_doc"]
    assert "checkpatch.toml: NONE in kernel/none.c is no longer said" in said["checkpatch"]
    assert "No description found for return value of 'broken'" in said["kernel_doc"]
    assert "broken.rst:4: WARNING: Inline literal start-string" in said["documentation"]
    assert "broken.rst: WARNING: document isn't included in any toctree" in said["documentation"]
    assert "arch/arm64/mm/broken.c: no pattern" in said["maintainers"]


def test_git_am_takes_no_near_context(tmp_path):
    """A context that differs in a word is a complaint that names the file."""
    name, text = "arch/arm64/kernel/hibernate.c", "static int trans_pgd_map_page("
    output(["tar", "-xf", check.base_archive(), "-C", tmp_path])
    path = tmp_path / "base" / name
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, "static int renamed("))
    output(["tar", "-cf", tmp_path / "near.tar", "-C", tmp_path, "base"])
    said = check.am(tmp_path / "near.tar")
    assert len(said) == 1 and name in said[0]
