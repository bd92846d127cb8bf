# SPDX-License-Identifier: GPL-2.0-only
"""What apt does for the lab: it fetches packages and sources of Debian.

All of it comes through the mirror that the machine already uses, with the machine's own proxies
and credentials and with signatures checked. Lists, state and cache are private, in build/apt, so
the machine's stay as they are.
"""

import contextlib
import functools
import os
import pathlib
import re

from lab.util import BUILD, LOGS, LabError, output, remove, run, say

KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")

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


def get(log, options, *args, cwd=None):
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
        # The label of a source is in apt's lists. Many machine images come without these.
        lists = BUILD / "apt/lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        conf = lists.with_name("lists.conf")
        conf.write_text(f'Dir::State::lists "{lists}";\n{NO_HOOKS}{sandbox()}')
        say("asking the machine's package sources which of them are Debian's")
        # A source that fails does not matter as long as Debian's answers.
        with contextlib.suppress(LabError):
            get("apt-mirrors.log", ["-c", conf], "update")
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
def private(name, sources):
    """Yield (directory, get): private apt directories for `sources`, lists brought
    up to date, and a function that runs apt-get there.

    sources: (type, URI, suite) each. After a failure the directories stay, so that apt can go on
    with what it has. After success they are removed.
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

    def own(*args):
        get(f"apt-{name}.log", ["-c", conf], *args, cwd=here)

    for old in here.glob("*.deb"):      # left by a command that failed
        old.unlink()
    own("update")
    yield here, own
    remove(here)


def debs(here):
    """The packages that apt has downloaded, sorted."""
    return sorted((here / "cache/archives").glob("*.deb"))


def deb_field(deb, *fields):
    """Fields of a package's control file, as a list."""
    form = "\n".join(f"${{{field}}}" for field in fields)
    return output(["dpkg-deb", "--show", f"--showformat={form}", deb]).split("\n")


def versions(package, here=None):
    """The versions of a package that apt's lists have, newest first. here: of a private() apt, if
    not the machine's."""
    options = ["-c", here / "apt.conf"] if here else []
    lines = output(["apt-cache", *options, "madison", package]).splitlines()
    return [line.split("|")[1].strip() for line in lines]
