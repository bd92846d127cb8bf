# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's configuration is made of. Nothing is built."""

from lab import build
from lab.base import V7_3

DEFCONFIG = """CONFIG_SMP=y
CONFIG_DEBUG_INFO=y
# CONFIG_LOGO is not set
CONFIG_DEBUG_INFO_BTF=y
"""


def test_on_top_of_defconfig(tmp_path):
    """On top of arm64's defconfig are only the fragments that are named, and a symbol that they
    set is taken from them alone."""
    path = tmp_path / "arch/arm64/configs/defconfig"
    path.parent.mkdir(parents=True)
    path.write_text(DEFCONFIG)
    wanted = build.fragment(V7_3, "defconfig")
    assert "CONFIG_DEBUG_INFO=n" in wanted and "CONFIG_NR_CPUS=8" not in wanted
    assert build.beneath(tmp_path, "defconfig", wanted) == ("alldefconfig", [
        "CONFIG_SMP=y", "# CONFIG_LOGO is not set", "CONFIG_DEBUG_INFO_BTF=y"])


def test_on_top_of_nothing(tmp_path):
    """All others begin with the fragments of the base, and all other symbols are off."""
    wanted = build.fragment(V7_3, "tiny")
    assert "CONFIG_NR_CPUS=8" in wanted
    assert build.beneath(tmp_path, "tiny", wanted) == ("allnoconfig", [])
