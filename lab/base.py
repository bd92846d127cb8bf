# SPDX-License-Identifier: GPL-2.0-only
"""The kernels that a series is for. A Base has all that the lab knows of one before it is built.
No other code asks for the version of a tree."""

import dataclasses
import pathlib
import re

from lab.util import LabError

ARM64 = ("arch/arm64/kernel/machine_kexec.c", "kernel/kexec_core.c")
LIBRARY = "arch/arm64/mm/trans_pgd.c"   # in mainline since v5.16


@dataclasses.dataclass(frozen=True)
class Base:
    """A kernel that a series is for."""

    name: str
    package: str                # of Debian, which has the source
    # (suite, version) of the package, the preferred first. The version is named, so that every
    # run has the same base.
    releases: tuple
    files: tuple                # which a tree of this base has, and a series changes or uses
    documentation: str          # the folder of arm64's
    # of lab/config, and of its folder of the base's name, which every configuration begins with
    fragments: tuple
    clang: int                  # the version that builds it; host.clang() may take a newer one
    tools: tuple                # packages of Debian that clang's builds take; {}: the version
    objects: int                # objects of a small kernel, about
    mmu_on: bool                # whether kexec relocates with the MMU on without a series
    exits: tuple                # addresses that hibernation maps its exit code at; (): VA == PA
    peer: str                   # what `make bench` compares with: v6.1, or the base itself
    # instructions that two counts of the same load may differ by. Current kernels count some
    # hundred more or less in a load of many millions, without a series too; why is not known.
    noise: int
    tells_parts: bool           # whether the series has a debug message for what it copied
    # whether it supports I-caches whose lines belong to a VMID (VPIPT), which v6.8 has given up
    vpipt: bool

    @property
    def version(self):
        """The version that the base is made for, as "5.10.262"."""
        return upstream(self.releases[0][1])

    def made_for(self, version):
        """Whether a version is of the base's own series."""
        return numbers(version)[:2] == numbers(self.version)[:2]

    def missing(self, tree):
        """The files that a tree of this base has and this tree has not."""
        return [name for name in self.files if not (tree / name).is_file()]


V5_10 = Base(
    name="v5.10",
    package="linux-source-5.10",
    releases=(("bullseye-security", "5.10.262-1"), ("bullseye", "5.10.223-1")),
    files=ARM64,
    documentation="Documentation/arm64",
    fragments=("small",),
    clang=16,                                           # the first that checks calls by kCFI
    tools=("lld", "llvm"),                              # it calls them by these names
    objects=1010,
    mmu_on=False,
    exits=(0x1000, 0x4000, 0x10000),                    # PAGE_SIZE
    peer="v6.1",                                        # the base has no library
    noise=0,
    tells_parts=True,
    vpipt=True)
V6_12 = Base(
    name="v6.12",
    package="linux-source-6.12",
    releases=(("trixie", "6.12.117-1"),),
    files=(*ARM64, LIBRARY),
    documentation="Documentation/arch/arm64",
    fragments=("small",),
    clang=16,
    tools=("lld-{}", "llvm-{}"),
    objects=1180,
    mmu_on=True,
    exits=(),
    peer="base",
    noise=5000,
    tells_parts=False,
    vpipt=False)
V7_3 = Base(
    name="v7.3",
    package="linux-source-7.3",
    releases=(("trixie-backports", "7.3.4-1~bpo13+1"),),
    files=(*ARM64, LIBRARY),
    documentation="Documentation/arch/arm64",
    fragments=("small",),
    clang=19,                                           # 16 is too old for it
    tools=("lld-{}", "llvm-{}"),
    objects=1010,
    mmu_on=True,
    exits=(),
    peer="base",
    noise=5000,
    tells_parts=False,
    vpipt=False)
BASES = {base.name: base for base in (V5_10, V6_12, V7_3)}


def named(name):
    """The base of a name."""
    if name not in BASES:
        raise LabError(f"no base is called {name}: {', '.join(BASES)}")
    return BASES[name]


def numbers(version):
    """A version as something to compare: of the kernel, or of Debian's package of it."""
    return tuple(map(int, re.findall(r"\d+", version)))


def upstream(version):
    """The kernel's version in that of a Debian package: "7.3.4" in "7.3.4-1~bpo13+1"."""
    return version.partition("-")[0]


def of(version):
    """The base that a kernel of this version is tried with; LabError if there is none."""
    series = numbers(version)[:2]
    if series == (5, 10):
        return V5_10
    if series < (5, 10):
        raise LabError(f"this is Linux {version}; the oldest base is v5.10")
    if series < (5, 16):
        # Some code that the v5.10 series adds is in these already. The library that the v6.12
        # series builds on is not.
        raise LabError(f"this is Linux {version}, and no base is near to it: v5.10 is for 5.10 "
                       "alone, and v6.12 begins at 5.16, which brought mainline's trans_pgd")
    return V6_12 if series <= (6, 17) else V7_3


def of_tree(path):
    """The base that a kernel tree is tried with."""
    return of(source_version(path))


def source_version(path):
    """The version of a kernel tree, by its Makefile, as "5.10.262"; None when it is none."""
    try:
        text = (pathlib.Path(path) / "Makefile").read_text(errors="replace")
    except OSError:
        return None
    fields = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)$", text, re.MULTILINE))
    return ".".join(fields.values()) if len(fields) == 3 else None
