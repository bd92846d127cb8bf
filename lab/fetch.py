# SPDX-License-Identifier: GPL-2.0-only
"""What the lab takes from Debian: the base kernel source, the files of the
guest and the header of QEMU's plugins.

All of it comes by apt, through the mirror that the machine already uses, with
the machine's own proxies and credentials and with signatures checked. Lists,
state and cache are private, in build/apt, so the machine's stay as they are.
"""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import tempfile

from lab.util import (BUILD, LOGS, LabError, locked, made_whole, main, need_space, output, remove,
                      run, say)

KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE = "bookworm"              # the guest's Debian
PACKAGES = ("kexec-tools", "busybox-static", "makedumpfile")
PROGRAMS = ("kexec", "vmcore-dmesg", "makedumpfile", "busybox")

# Newest first. The package's version is named, so that every run has the same base.
SOURCES = (("bullseye-security", "5.10.262-1"), ("bullseye", "5.10.223-1"))
KERNEL_FILES = ("arch/arm64/kernel/machine_kexec.c", "kernel/kexec_core.c")

HEADER = "qemu-plugin.h"

# A machine that is set to trust unsigned packages is no reason to do so here.
APT_CONF = """\
Dir::State "{here}";
Dir::State::lists "{here}/lists";
Dir::State::status "{here}/status";
Dir::Cache "{here}/cache";
Dir::Etc::sourcelist "{here}/sources.list";
Dir::Etc::sourceparts "/dev/null";
#clear APT::Architectures;
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Update::Error-Mode "any";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""
# The machine's hooks act on the machine's lists and cache.
NO_HOOKS = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def apt_get(log, options, *args, cwd=None):
    """Run apt-get with its output in build/log/<log>; an error is apt's own first line."""
    try:
        run(["apt-get", *options, "-q", "-y", *args], f"apt-get {args[0]}", log=log, cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
    except LabError as error:
        own = str(error).rpartition("\n  $ ")[2]       # the log has earlier commands too
        reason = re.search(r"^ *E: (.+)", own, re.MULTILINE)
        if not reason:
            raise
        raise LabError(f"apt-get {args[0]}: {reason[1].strip()} (log: {LOGS / log})") from None


@functools.cache
def mirrors():
    """The mirrors that this machine's apt knows: {label: (URI, code name)}, main archive only."""
    found = known_mirrors()
    if "Debian" not in found:
        # A label is in the lists, which many machine images are delivered without.
        lists = BUILD / "apt/lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        conf = lists.with_name("lists.conf")
        conf.write_text(f'Dir::State::lists "{lists}";\n{NO_HOOKS}{sandbox()}')
        say("asking the machine's package sources which of them are Debian's")
        # One source that fails is no matter as long as Debian's answers.
        with contextlib.suppress(LabError):
            apt_get("apt-mirrors.log", ["-c", conf], "update")
        found = known_mirrors("-c", conf)
        remove(lists)
        remove(conf)
    if "Debian" not in found:
        raise LabError("no Debian mirror answers among this machine's package sources; see that "
                       "they name Debian's main archive and that 'apt-get update' works")
    return found


def mirror(suite):
    """The machine's mirror of a suite."""
    label = "Debian-Security" if suite.endswith("-security") else "Debian"
    if label not in mirrors():
        raise LabError(f"this machine has no mirror of {suite}")
    return mirrors()[label][0]


def known_mirrors(*options):
    """The mirrors in the lists that apt has."""
    lines = output(["apt-get", *options, "indextargets", "--format",
                    "$(LABEL)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)", "Created-By: Packages"])
    found = {}
    for line in lines.splitlines():
        label, uri, codename, component = line.split("|")
        if component == "main" and not uri.startswith("cdrom:"):
            found.setdefault(label, (uri, codename))
    return found


def sandbox():
    """apt's own user cannot write below every home directory, and apt says so each time."""
    return 'APT::Sandbox::User "root";\n' if os.geteuid() == 0 else ""


@contextlib.contextmanager
def private_apt(name, sources):
    """Yield (directory, apt): private apt directories for `sources`, lists brought
    up to date, and a function that runs apt-get there.

    sources: (type, URI, suite) each. After a failure the directories stay, for apt
    to go on with what it has; after success nothing needs them any more.
    """
    if not KEYRING.is_file():
        raise LabError(f"no {KEYRING}, so signatures cannot be checked; install "
                       "debian-archive-keyring")
    here = BUILD / "apt" / name
    for sub in ("lists/partial", "cache/archives/partial"):
        (here / sub).mkdir(parents=True, exist_ok=True)
    (here / "status").touch()
    (here / "sources.list").write_text("".join(
        f"{kind} [signed-by={KEYRING}] {uri} {suite} main\n" for kind, uri, suite in sources))
    conf = here / "apt.conf"
    conf.write_text(APT_CONF.format(here=here) + NO_HOOKS + sandbox())

    def apt(*args):
        apt_get(f"apt-{name}.log", ["-c", conf], *args, cwd=here)

    for old in here.glob("*.deb"):      # left by a command that failed
        old.unlink()
    apt("update")
    yield here, apt
    remove(here)


def debs(here):
    """The packages that apt has downloaded, sorted."""
    return sorted((here / "cache/archives").glob("*.deb"))


def deb_field(deb, *fields):
    """Fields of a package's control file, as a list."""
    form = "\n".join(f"${{{field}}}" for field in fields)
    return output(["dpkg-deb", "--show", f"--showformat={form}", deb]).split("\n")


def guest_root():
    """The guest's Debian packages and all that they depend on, unpacked but not set up.

    No arm64 program runs for that, so no emulation of user programs is needed, and
    being unpacked by dpkg-deb the files are the packages' own.
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
        with (private_apt("guest", [("deb", mirror(SUITE), SUITE)])
              as (here, apt), made_whole(root) as scratch):
            apt("install", "--download-only", *PACKAGES)
            for deb in debs(here):
                run(["dpkg-deb", "--extract", deb, scratch], f"unpacking {deb.name}",
                    log="apt-guest.log")
                versions.append(" ".join(deb_field(deb, "Package", "Version")))
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


def source_version(path):
    """The version of a kernel tree, by its Makefile, as "5.10.262"; None when it is none."""
    try:
        text = (pathlib.Path(path) / "Makefile").read_text(errors="replace")
    except OSError:
        return None
    fields = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)$", text, re.MULTILINE))
    return ".".join(fields.values()) if len(fields) == 3 else None


def check_source(path, name):
    """Stop unless `path`, which the user knows as `name`, is a v5.10.y tree with arm64."""
    if not path.is_dir():
        raise LabError(f"{name}: {'not a directory' if path.exists() else 'no such directory'}; "
                       "set LINUX to the top of a v5.10.y source tree")
    version = source_version(path)
    if not version:
        raise LabError(f"{name}: not a Linux source tree (no Makefile with VERSION, PATCHLEVEL "
                       "and SUBLEVEL); set LINUX to the top of a v5.10.y source tree")
    if not version.startswith("5.10."):
        raise LabError(f"{name}: this is Linux {version}; the series is for v5.10.y")
    for file in KERNEL_FILES:
        if not (path / file).is_file():
            raise LabError(f"{name}: Linux {version} without {file}, which the series changes; "
                           "set LINUX to a whole v5.10.y source tree")


def base_source():
    """An unpacked Linux v5.10.y tree, which nobody may write to: LINUX=DIR, or else
    Debian's linux-source-5.10."""
    if os.environ.get("LINUX"):
        path = pathlib.Path(os.environ["LINUX"]).absolute()
        check_source(path, f"LINUX={os.environ['LINUX']}")
        return path
    trees = [BUILD / f"src/linux-{version.split('-')[0]}" for _, version in SOURCES]
    for tree in trees:
        if tree.is_dir():
            return tree
    with locked("source"):
        for tree in trees:      # another command may just have made it
            if tree.is_dir():
                return tree
        remove(BUILD / "src")   # what a killed command may have left
        need_space(BUILD, 2048)
        deb = download_source()
        tree = BUILD / f"src/linux-{deb_field(deb, 'Version')[0].split('-')[0]}"
        try:
            with made_whole(tree) as scratch:
                unpack_source(deb, scratch)
                check_source(scratch, deb.name)
        finally:
            remove(deb)
        return tree


def download_source():
    """The newest of Debian's linux-source-5.10 that can be had, as a .deb in build/src."""
    reasons = []
    try:
        mirrors()
    except LabError as error:
        reasons.append(str(error))
    for suite, version in SOURCES if not reasons else ():
        # A machine that takes no security updates may have no way to their mirror.
        try:
            return download_version(suite, version)
        except LabError as error:
            reasons.append(f"{suite}: {error}")
    raise LabError("\n  ".join(["no kernel source from Debian; set LINUX=DIR to a v5.10.y tree, "
                               "or mend this:", *reasons]))


def download_version(suite, version):
    """One version of Debian's linux-source-5.10, as a .deb in build/src."""
    sources = [("deb", mirror(suite), suite)]
    say(f"fetching linux-source-5.10 {version} from {suite} (120 MB)")
    with private_apt("source", sources) as (here, apt):
        apt("download", f"linux-source-5.10={version}")
        [deb] = here.glob("linux-source-5.10_*.deb")
        if deb_field(deb, "Version") != [version]:
            raise LabError(f"apt-get download gave {deb.name}, not {version}")
        (BUILD / "src").mkdir(exist_ok=True)
        return deb.rename(BUILD / "src" / deb.name)


def source_archive(suite, version, plain):
    """A tar archive in build/check with one of SOURCES: as Debian builds it or, `plain`, as
    kernel.org released it, but for files that Debian finds are not free."""
    archive = BUILD / "check" / f"linux-{version}-{'plain' if plain else 'debian'}.tar.xz"
    if archive.is_file():
        return archive
    need_space(archive.parent, 400)
    with made_whole(archive) as scratch:
        if plain:
            say(f"fetching the source of the package linux {version} from {suite} (120 MB)")
            with private_apt("plain", [("deb-src", mirror(suite), suite)]) as (here, apt):
                apt("source", "--download-only", "--tar-only", f"linux={version}")
                [tarball] = here.glob("linux_*.orig.tar.xz")
                tarball.rename(scratch)
        else:
            deb = download_version(suite, version)
            try:
                with tempfile.TemporaryDirectory(dir=deb.parent) as folder:
                    run(["dpkg-deb", "--extract", deb, folder], f"unpacking {deb.name}",
                        log="source.log")
                    [tarball] = pathlib.Path(folder).glob("usr/src/*.tar.xz")
                    tarball.rename(scratch)
            finally:
                remove(deb)
    return archive


def unpack_source(deb, scratch):
    """Unpack the kernel source of the package `deb` to the new folder `scratch`."""
    package, full = deb_field(deb, "Package", "Version")
    version = full.split("-")[0]
    say(f"unpacking Linux {version}")
    with tempfile.TemporaryDirectory(dir=deb.parent) as folder:
        run(["dpkg-deb", "--extract", deb, folder], f"unpacking {deb.name}", log="source.log")
        scratch.mkdir()
        run(["tar", "-xf", f"{folder}/usr/src/{package}.tar.xz", "-C", scratch,
             "--no-same-owner", "--strip-components=1"], "unpacking the kernel source",
            log="source.log")
    if source_version(scratch) != version:
        raise LabError(f"{deb.name} holds Linux {source_version(scratch)}, not {version}")


def mainline_source():
    """An unpacked Linux 6.1, Debian's linux-source-6.1: mainline's own page tables for
    kexec, to compare with."""
    tree = BUILD / "v6.1"
    if tree.is_dir():
        return tree
    with locked("source-6.1"):
        if tree.is_dir():
            return tree
        need_space(BUILD, 2048)
        say(f"fetching linux-source-6.1 from {SUITE} (140 MB)")
        with (private_apt("v6.1", [("deb", mirror(SUITE), SUITE)])
              as (here, apt), made_whole(tree) as scratch):
            apt("download", "linux-source-6.1")
            [deb] = here.glob("linux-source-6.1_*.deb")
            unpack_source(deb, scratch)
    return tree


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
        with (private_apt(f"debian-{name}", [("deb", mirror(suite), suite)])
              as (here, apt), made_whole(folder) as scratch):
            if meta:
                text = output(["apt-cache", "-c", here / "apt.conf", "show", name])
                name = re.search(r"^Depends: ([\w.+-]+)", text, re.MULTILINE).group(1)
            apt("download", name)
            [deb] = here.glob(f"{name}_*.deb")
            scratch.mkdir()
            run(["sh", "-c", 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --no-same-owner '
                 '--wildcards "$2" --transform=s,.*/,,', deb, scratch, wanted],
                f"unpacking {deb.name}", log=f"apt-debian-{name}.log")
    return folder


def debian_kernel(suite):
    """Debian's own arm64 kernel of a suite, as it is installed."""
    [path] = from_package("linux-image-arm64", suite, "./boot/vmlinuz-*", "Debian's arm64 kernel",
                          meta=True).iterdir()
    return path


def installer():
    """Kernel and initrd of Debian's installer, by the network."""
    folder = from_package("debian-installer-12-netboot-arm64", SUITE,
                          "*/arm64/text/debian-installer/arm64/[li]*", "Debian's installer")
    return folder / "linux", folder / "initrd.gz"


def qemu_version():
    """The version of the QEMU that the lab runs: (upstream, Debian's or None)."""
    text = output(["qemu-system-aarch64", "--version"])
    found = re.search(r"version ([\d.]+)(?: \(Debian (\S+)\))?", text)
    if not found:
        raise LabError(f"qemu-system-aarch64 gives no version that the lab can read: {text}")
    return found.groups()


def plugin_header():
    """A directory with the qemu-plugin.h of the installed QEMU.

    No binary package of Debian 12 has it; the source package does.
    """
    upstream, debian = qemu_version()
    prefix = pathlib.Path(shutil.which("qemu-system-aarch64")).resolve().parent.parent
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
    found = mirrors()
    sources = [("deb-src", *found["Debian"])]
    if "Debian-Security" in found:
        sources.append(("deb-src", *found["Debian-Security"]))
    with private_apt("qemu", sources) as (here, apt), made_whole(folder) as scratch:
        text = output(["apt-cache", "-c", here / "apt.conf", "showsrc", "--only-source", "qemu"])
        listed = re.findall(r"^Version: (.+)$", text, re.MULTILINE)
        same = [other for other in listed if other.rpartition("-")[0] == version.rpartition("-")[0]]
        if not same:
            raise LabError(f"Debian's mirror has the source of QEMU {' and '.join(listed)}, not of "
                           f"{version}, which is installed; bring QEMU up to date with apt-get")
        apt("source", "--download-only", "--tar-only",
            f"qemu={version if version in same else same[0]}")
        [tarball] = here.glob("qemu_*.orig.tar.*")
        scratch.mkdir()
        run(["tar", "-xf", tarball, "-C", scratch, "--no-same-owner", "--wildcards",
             "--transform=s,.*/,,", f"*/include/*/{HEADER}"], f"unpacking {HEADER}",
            log="apt-qemu.log")


def command(_):
    """Fetch all that there is to fetch."""
    tree = base_source()
    print(f"kernel source: {tree} (Linux {source_version(tree)})")
    print(f"guest packages: {guest_root()}")
    print(f"QEMU's plugin header: {plugin_header()}")


if __name__ == "__main__":
    main(command)
