# SPDX-License-Identifier: GPL-2.0-only
"""What the lab needs on the machine that it runs on: Debian packages, and a QEMU
that is new enough. `python3 -m lab.host` sees to both."""

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys

from lab import apt, qemu
from lab.here import BASE
from lab.util import LabError, locked, main, output, say

QEMU_NEEDED = (7, 2)            # the first that Debian builds with TCG plugins
NEWEST_CLANG = 19               # that a kernel is built with if there is none between

# Recommended packages are not installed, so those that are needed are named: libc6-dev is for the
# kernel's host programs, libglib2.0-dev for the plugin header of QEMU 10, and fontconfig and
# python3-six for what v5.10's Documentation/ has Sphinx run.
PACKAGES = """
    gcc libc6-dev binutils make bc bison flex libssl-dev libelf-dev device-tree-compiler ccache
    cpio xz-utils git e2fsprogs debian-archive-keyring dpkg-dev
    qemu-system-arm qemu-efi-aarch64 gdb-multiarch libglib2.0-dev
    perl sparse shellcheck python3-flake8 python3-sphinx fontconfig
    python3-pytest python3-pexpect python3-pytest-xdist python3-matplotlib python3-numpy
    python3-six
""".split()
CROSS_PACKAGES = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]

# For machines without dpkg-query. What is fetched from Debian is fetched by apt-get.
TOOLS = """
    gcc readelf make bc bison flex dtc fdtput ccache cpio xz git mke2fs apt-get dpkg-deb
    qemu-system-aarch64 gdb-multiarch pkg-config perl sparse shellcheck sphinx-build fc-list
""".split()
MODULES = ["pytest", "pexpect", "xdist", "matplotlib", "numpy", "flake8", "sphinx", "six"]


def cross_compile():
    """The prefix of the arm64 compiler and its tools: the kernel's CROSS_COMPILE."""
    return "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"


@functools.cache
def clang(base):
    """The version of clang that builds a base's kernels: the base's own. Where Debian's release
    does not have it, the nearest newer one is taken."""
    for version in range(base.clang, NEWEST_CLANG + 1):
        if shutil.which(f"clang-{version}") or apt.versions(f"clang-{version}"):
            return version
    return base.clang


def missing_packages(bases):
    """The Debian packages that are not installed."""
    wanted = [*PACKAGES, *(CROSS_PACKAGES if cross_compile() else []),
              *dict.fromkeys(name.format(clang(base)) for base in bases
                             for name in ("clang-{}", *base.tools))]
    listed = output(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n",
                     *wanted], ok=(0, 1))
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def missing_tools(bases):
    """The tools that are not on PATH, for a machine without Debian packages."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    wanted = [*TOOLS, cross_compile() + "gcc",
              *dict.fromkeys(f"clang-{base.clang}" for base in bases)]
    return [tool for tool in wanted if not shutil.which(tool, path=path)]


def install(bases):
    """Install the Debian packages that are missing; needs root."""
    try:
        apt.get("host.log", [], "update")
    except LabError as error:       # of one source among many, perhaps
        say(f"{error}; going on with the lists that apt has")
    clang.cache_clear()             # it has asked the lists of before
    packages = missing_packages(bases)
    say(f"installing {len(packages)} Debian packages: {' '.join(packages)}")
    apt.get("host.log", ["-o", "DPkg::Lock::Timeout=300"], "install", "--no-install-recommends",
            *packages)
    say("packages installed")


def check_python():
    """Stop if this Python lacks modules. Another Python than Debian's may be first on PATH, and
    that one does not see Debian's packages."""
    missing = [name for name in MODULES if not importlib.util.find_spec(name)]
    if missing:
        raise LabError(f"{sys.executable} lacks the modules {', '.join(missing)}; on Debian, "
                       "run the lab with /usr/bin/python3, which has them")


def check_qemu():
    """Stop at a QEMU that is too old, or that was built without plugins."""
    found = qemu.installed()[0]
    needed = ".".join(map(str, QEMU_NEEDED))
    if tuple(int(number) for number in found.split(".")[:2]) < QEMU_NEEDED:
        raise LabError(f"{shutil.which('qemu-system-aarch64')} is QEMU {found}; the lab needs "
                       f"{needed} or newer, for it counts a guest's accesses with a TCG plugin")
    # A QEMU with plugins complains about the file. A QEMU without them complains about the option.
    answer = subprocess.run(
        ["qemu-system-aarch64", "-M", "none", "-display", "none", "-monitor", "none",
         "-plugin", "file=/nonexistent"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, timeout=60, check=False).stderr
    if "could not load plugin" not in answer.lower():
        raise LabError(f"{shutil.which('qemu-system-aarch64')} was built without TCG plugins, "
                       "which the lab counts a guest's accesses with")


def ensure(bases):
    """See that the machine has what the lab needs for these bases: install it, or say how to."""
    if not shutil.which("dpkg-query"):
        if missing := missing_tools(bases):
            raise LabError(f"this machine lacks {', '.join(missing)}; install them (the lab knows "
                           "only Debian's packages)")
    elif missing := missing_packages(bases):
        if os.geteuid() != 0:
            raise LabError("Debian packages are missing; run: sudo apt-get install "
                           f"--no-install-recommends {' '.join(missing)}")
        with locked("host"):
            if missing_packages(bases):
                install(bases)
    for base in bases:
        if (version := clang(base)) != base.clang:
            say(f"note: this machine's Debian has no clang-{base.clang}; clang-{version}, which "
                f"has not been tried, builds what clang builds of {base.name}")
    check_python()
    check_qemu()


def command(_):
    """make host"""
    ensure([BASE])
    say("this machine has what the lab needs")


if __name__ == "__main__":
    main(command)
