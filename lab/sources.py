# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel sources there are: of a base, by LINUX=DIR or from Debian, and v6.1, which has
mainline's own implementation for v5.10 to be compared with.

`python3 -m lab.sources v6.12` fetches the source of that base. Debian's stays a tar archive. Only
lab.tree unpacks it, where it is used, because each unpacked tree takes 1.1 to 1.7 GB.
"""

import os
import pathlib
import re

from lab import apt, debian
from lab.base import named, numbers, of, source_version, upstream
from lab.here import BASE
from lab.util import BUILD, LabError, locked, made_whole, main, need_space, remove, run, say

FOLDER = BUILD / "src"
ARCHIVE = re.compile(r"linux-(\d+(?:\.\d+)*)\.tar\.xz")


def check_source(path, name, base):
    """Stop unless `path`, which the user calls `name`, is a tree that can be tried with the base.
    If the base was not made for its version, the user is told."""
    wanted = f"set LINUX to the top of a {base.name}.y source tree"
    if not path.is_dir():
        raise LabError(f"{name}: {'not a directory' if path.exists() else 'no such directory'}; "
                       f"{wanted}")
    version = source_version(path)
    if not version:
        raise LabError(f"{name}: not a Linux source tree (no Makefile with VERSION, PATCHLEVEL "
                       f"and SUBLEVEL); {wanted}")
    try:
        told = of(version)
    except LabError as error:
        raise LabError(f"{name}: {error}") from None
    if told is not base:
        raise LabError(f"{name}: this is Linux {version}, which is tried with {told.name}; "
                       f"what was asked for is {base.name}")
    for file in base.missing(path):
        raise LabError(f"{name}: Linux {version} without {file}, which the series needs; set "
                       f"LINUX to a whole {base.name}.y source tree")
    if not base.made_for(version):
        say(f"{name}: this is Linux {version}; the nearest base is {base.name}, made for "
            f"{base.version}, and is tried")


def base_source(base=BASE):
    """The source of a base: the tree in LINUX=DIR, which nobody may write to, or else Debian's tar
    archive."""
    if os.environ.get("LINUX"):
        path = pathlib.Path(os.environ["LINUX"]).absolute()
        check_source(path, f"LINUX={os.environ['LINUX']}", base)
        return path
    return debian_source(base)


def debian_source(base=BASE):
    """The tar archive of a base's source that Debian has."""
    if path := fetched(base):
        return path
    with locked(f"source-{base.name}"):
        return fetched(base) or fetch(base)         # another command may just have made it


def version_of(source):
    """The version of a source, which is a tree or an archive of Debian's."""
    if found := ARCHIVE.fullmatch(source.name):
        return found[1]
    return source_version(source)


def fetched(base):
    """The archive of a base's source that is there already, the preferred version's if there are
    several; or None."""
    versions = [found[1] for path in FOLDER.glob("linux-*")
                if (found := ARCHIVE.fullmatch(path.name)) and base.made_for(found[1])]
    preferred = [upstream(version) for _, version in base.releases]
    for version in [*preferred, *sorted(versions, key=numbers, reverse=True)]:
        if version in versions:
            return FOLDER / f"linux-{version}.tar.xz"
    return None


def fetch(base):
    """Fetch Debian's source of a base."""
    scratch = FOLDER / f".{base.name}"
    remove(scratch)             # what a killed command may have left
    need_space(BUILD, 700)
    try:
        deb = download(base, scratch)
        path = FOLDER / f"linux-{upstream(apt.deb_field(deb, 'Version')[0])}.tar.xz"
        extracted(deb).rename(path)
    finally:
        remove(scratch)
    return path


def download(base, folder):
    """The preferred one of a base's packages that can be had, as a .deb in `folder`."""
    reasons = []
    try:
        apt.mirrors()
    except LabError as error:
        reasons.append(str(error))
    for suite, version in base.releases if not reasons else ():
        # A machine without security updates may have no mirror of them.
        try:
            return download_version(base, suite, version, folder)
        except LabError as error:
            reasons.append(f"{suite}: {error}")
    raise LabError("\n  ".join([f"no kernel source from Debian; set LINUX=DIR to a {base.name}.y "
                               "tree, or mend this:", *reasons]))


def download_version(base, suite, version, folder):
    """A package of a base, as a .deb in `folder`: this version, or a newer one when it is gone."""
    with apt.private(f"source-{base.name}", [("deb", apt.mirror(suite), suite)]) as (here, get):
        found = choose(base, version, apt.versions(base.package, here))
        if found != version:
            say(f"{suite} no longer has {base.package} {version}; {found} takes its place")
        say(f"fetching {base.package} {found} from {suite} (120 to 160 MB)")
        get("download", f"{base.package}={found}")
        [deb] = here.glob(f"{base.package}_*.deb")
        if apt.deb_field(deb, "Version") != [found]:
            raise LabError(f"apt-get download gave {deb.name}, not {found}")
        folder.mkdir(parents=True, exist_ok=True)
        return deb.rename(folder / deb.name)


def choose(base, version, listed):
    """Of the versions of a base's package that a suite lists, the one that was named, or else
    the newest of the same series, if that is newer."""
    if version in listed:
        return version
    newer = [other for other in listed if base.made_for(other) and
             numbers(other) > numbers(version)]
    if not newer:
        raise LabError(f"no {base.package} {version} or newer; there is "
                       f"{', '.join(listed) or 'none'}")
    return max(newer, key=numbers)


def archive(base, suite, version, plain):
    """A tar archive in build/check with one of a base's releases: as Debian builds it or,
    `plain`, as kernel.org released it, but for files that Debian finds are not free."""
    path = BUILD / "check" / f"linux-{version}-{'plain' if plain else 'debian'}.tar.xz"
    if path.is_file():
        return path
    need_space(path.parent, 400)
    with made_whole(path) as made:
        if plain:
            say(f"fetching the source of the package linux {version} from {suite} (120 MB)")
            sources = [("deb-src", apt.mirror(suite), suite)]
            with apt.private("plain", sources) as (here, get):
                get("source", "--download-only", "--tar-only", f"linux={version}")
                [tarball] = here.glob("linux_*.orig.tar.xz")
                tarball.rename(made)
        else:
            scratch = path.with_suffix(".deb")
            try:
                deb = download_version(base, suite, version, scratch)
                if apt.deb_field(deb, "Version") != [version]:
                    raise LabError(f"{suite} no longer has {base.package} {version}")
                extracted(deb).rename(made)
            finally:
                remove(scratch)
    return path


def extracted(deb):
    """The tar archive of the kernel source that a package holds, beside the package."""
    folder = deb.with_suffix("")
    run(["dpkg-deb", "--extract", deb, folder], f"unpacking {deb.name}", log="source.log")
    [tarball] = folder.glob("usr/src/*.tar.xz")
    return tarball


def unpack(path, version, folder):
    """Unpack Debian's archive of the kernel source of a version to the new folder `folder`."""
    say(f"unpacking Linux {version}")
    folder.mkdir(parents=True)
    run(["tar", "-xf", path, "-C", folder, "--no-same-owner", "--strip-components=1"],
        "unpacking the kernel source", log="source.log")
    if source_version(folder) != version:
        raise LabError(f"{path} holds Linux {source_version(folder)}, not {version}; remove it and "
                       "run the same command again")


def mainline():
    """An unpacked Linux 6.1, Debian's linux-source-6.1: mainline's own page tables for
    kexec, to compare with."""
    tree = FOLDER / "v6.1"
    if tree.is_dir():
        return tree
    with locked("source-6.1"):
        if tree.is_dir():
            return tree
        need_space(BUILD, 2048)
        suite = debian.SUITE
        say(f"fetching linux-source-6.1 from {suite} (140 MB)")
        with (apt.private("v6.1", [("deb", apt.mirror(suite), suite)])
              as (here, get), made_whole(tree) as made):
            get("download", "linux-source-6.1")
            [deb] = here.glob("linux-source-6.1_*.deb")
            unpack(extracted(deb), upstream(apt.deb_field(deb, "Version")[0]), made)
    return tree


def command(words):
    """Fetch the sources of the bases that are named, of this command's if none is."""
    for base in [named(word) for word in words] or [BASE]:
        source = base_source(base)
        print(f"kernel source of {base.name}: {source} (Linux {version_of(source)})", flush=True)


if __name__ == "__main__":
    main(command)
