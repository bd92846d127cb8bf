# SPDX-License-Identifier: GPL-2.0-only
"""Debian's own programs and kernels: what the guest runs, and what it hands over to."""

import re

from lab import apt
from lab.util import BUILD, LabError, locked, made_whole, main, need_space, output, run, say

SUITE = "bookworm"              # the guest's Debian
PACKAGES = ("kexec-tools", "busybox-static", "makedumpfile")
PROGRAMS = ("kexec", "vmcore-dmesg", "makedumpfile", "busybox")


def guest_root():
    """The guest's Debian packages and all that they depend on, unpacked but not set up.

    dpkg-deb unpacks them, so the files are exactly the packages'. No arm64 program runs for that,
    so no emulation of user programs is needed.
    """
    root, listing = BUILD / "guest/root", BUILD / "guest/packages.txt"
    if root.is_dir() and listing.is_file():
        return root
    with locked("guest-root"):
        if root.is_dir() and listing.is_file():
            return root
        need_space(BUILD, 300)
        say(f"fetching the guest's Debian packages ({SUITE}, arm64: {', '.join(PACKAGES)})")
        versions = []
        with (apt.private("guest", [("deb", apt.mirror(SUITE), SUITE)])
              as (here, get), made_whole(root) as scratch):
            get("install", "--download-only", *PACKAGES)
            for deb in apt.debs(here):
                run(["dpkg-deb", "--extract", deb, scratch], f"unpacking {deb.name}",
                    log="apt-guest.log")
                versions.append(" ".join(apt.deb_field(deb, "Package", "Version")))
            for name in PROGRAMS:
                program(scratch, name)
        with made_whole(listing) as scratch:
            scratch.write_text("\n".join(versions) + "\n")
        say(f"guest packages: {len(versions)} in {root}")
    return root


def program(root, name):
    """The path of a program in the guest's packages, which are unpacked at `root`."""
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
        path = root / folder / name
        if path.is_file():
            return path
    raise LabError(f"{root} has no program {name}; remove it and run the command again")


def from_package(name, suite, wanted, what, meta=False):
    """A folder in build/debian with the files of a Debian package that match `wanted`, by
    the wildcards of tar. meta: the package is the one that `name` depends on first."""
    folder = BUILD / "debian" / f"{suite}-{name}"
    if folder.is_dir():
        return folder
    with locked("debian"):
        if folder.is_dir():
            return folder
        need_space(BUILD, 500)
        say(f"fetching {what} from {suite}")
        with (apt.private(f"debian-{name}", [("deb", apt.mirror(suite), suite)])
              as (here, get), made_whole(folder) as scratch):
            if meta:
                text = output(["apt-cache", "-c", here / "apt.conf", "show", name])
                name = re.search(r"^Depends: ([\w.+-]+)", text, re.MULTILINE).group(1)
            get("download", name)
            [deb] = here.glob(f"{name}_*.deb")
            scratch.mkdir()
            run(["sh", "-c", 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --no-same-owner '
                 '--wildcards "$2" --transform=s,.*/,,', deb, scratch, wanted],
                f"unpacking {deb.name}", log=f"apt-debian-{name}.log")
    return folder


def kernel(suite):
    """Debian's own arm64 kernel of a suite, as it is installed."""
    [path] = from_package("linux-image-arm64", suite, "./boot/vmlinuz-*", "Debian's arm64 kernel",
                          meta=True).iterdir()
    return path


def installer():
    """Kernel and initrd of Debian's installer, by the network."""
    folder = from_package("debian-installer-12-netboot-arm64", SUITE,
                          "*/arm64/text/debian-installer/arm64/[li]*", "Debian's installer")
    return folder / "linux", folder / "initrd.gz"


def command(_):
    """Fetch the guest's packages."""
    print(f"guest packages: {guest_root()}")


if __name__ == "__main__":
    main(command)
