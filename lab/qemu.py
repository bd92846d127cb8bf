# SPDX-License-Identifier: GPL-2.0-only
"""The QEMU that the lab runs: its version, and the header that its plugins are built with."""

import pathlib
import re
import shutil

from lab import apt
from lab.board import QEMU
from lab.util import BUILD, LabError, locked, made_whole, main, need_space, output, run, say

HEADER = "qemu-plugin.h"


def installed():
    """The version of the QEMU that the lab runs: (upstream, Debian's or None)."""
    text = output([QEMU, "--version"])
    found = re.search(r"version ([\d.]+)(?: \(Debian (\S+)\))?", text)
    if not found:
        raise LabError(f"{QEMU} gives no version that the lab can read: {text}")
    return found.groups()


def plugin_header():
    """A directory with the qemu-plugin.h of the installed QEMU.

    No binary package of Debian 12 has it; the source package does.
    """
    upstream, debian = installed()
    prefix = pathlib.Path(shutil.which(QEMU)).resolve().parent.parent
    for folder in (prefix / "include", prefix / "include/qemu"):
        if (folder / HEADER).is_file():
            return folder
    if not debian:
        raise LabError(f"QEMU {upstream} is not Debian's, and {prefix}/include has no {HEADER}; "
                       "install that file from QEMU's source")
    version = re.sub(r"\+b\d+$", "", debian)        # a rebuild has the same source
    folder = BUILD / "qemu" / version.replace(":", "_")
    if not folder.is_dir():
        with locked("plugin-header"):
            if not folder.is_dir():
                need_space(BUILD, 300)
                fetch_header(version, folder)
    return folder


def fetch_header(version, folder):
    """Make `folder` with the header from Debian's source of QEMU `version`, or of
    another with the same upstream version, which has the same header."""
    say(f"fetching {HEADER} from the source of QEMU {version}")
    found = apt.mirrors()
    sources = [("deb-src", *found["Debian"])]
    if "Debian-Security" in found:
        sources.append(("deb-src", *found["Debian-Security"]))
    with apt.private("qemu", sources) as (here, get), made_whole(folder) as scratch:
        text = output(["apt-cache", "-c", here / "apt.conf", "showsrc", "--only-source", "qemu"])
        listed = re.findall(r"^Version: (.+)$", text, re.MULTILINE)
        same = [other for other in listed if other.rpartition("-")[0] == version.rpartition("-")[0]]
        if not same:
            raise LabError(f"Debian's mirror has the source of QEMU {' and '.join(listed)}, not of "
                           f"{version}, which is installed; bring QEMU up to date with apt-get")
        get("source", "--download-only", "--tar-only",
            f"qemu={version if version in same else same[0]}")
        [tarball] = here.glob("qemu_*.orig.tar.*")
        scratch.mkdir()
        run(["tar", "-xf", tarball, "-C", scratch, "--no-same-owner", "--wildcards",
             "--transform=s,.*/,,", f"*/include/*/{HEADER}"], f"unpacking {HEADER}",
            log="apt-qemu.log")


def command(_):
    """Fetch the header."""
    print(f"QEMU's plugin header: {plugin_header()}")


if __name__ == "__main__":
    main(command)
