# SPDX-License-Identifier: GPL-2.0-only
"""The files that the series touches compile with every option that arm64 has."""

from lab import build, tree
from lab.here import HERE
from lab.util import run


def test_allmodconfig_objects():
    """The arm64 objects of the series, with allmodconfig; a warning is an error there."""
    src, out = build.source("series"), HERE / "kernel" / "series-allmod"
    objects = sorted(tree.object_of(name) for name in tree.SERIES.touched()
                     if name.startswith("arch/arm64/") and name.endswith((".c", ".S"))
                     and "asm-offsets" not in name)     # no object; made before all others
    build.folder(src, out)
    # No gcc plugins: they need the headers of the compiler that loads them. KUnit is built in,
    # because the library's tests cannot be in a module.
    (out / "lab.config").write_text("CONFIG_GCC_PLUGINS=n\nCONFIG_KUNIT=y\n"
                                    "CONFIG_TRANS_PGD_KUNIT_TEST=y\n")
    for targets in ([f"KCONFIG_ALLCONFIG={out}/lab.config", "allmodconfig"],
                    ["KCFLAGS=-Werror", *objects]):
        run(build.make(src, out, "", *targets), " ".join(objects), log="kernel-allmod.log",
            env=build.make_env(""))
    assert all((out / name).is_file() for name in objects)
