# SPDX-License-Identifier: GPL-2.0-only
"""Kernels and the QEMU plugin, built out of tree below build/."""

import concurrent.futures
import functools
import os
import re
import shutil
import subprocess
import time

from lab import host, qemu, sources, tree
from lab.base import of_tree, source_version
from lab.here import HERE, MUTANTS
from lab.util import (BUILD, CPUS, LAB, LOGS, MUTANT, LabError, locked, made_whole, main,
                      need_space, output, remove, run, say)

# Fragments that leave most objects of a kernel unchanged. A build with one of these starts from a
# copy of the build without it, as the base's starts from a copy of the series'.
LIGHT = ("nokexec", "hide", "kcfi")
STAMP = "lab.built"             # in a kernel's folder: what it was built from
HIDE = LAB / "kernel/hide.c"    # what a configuration with "hide" in its name has
# Arguments of make for parts of a configuration's name that are more than symbols. kcfi: clang
# puts a check in front of each call through a pointer. v5.10 has no option for kCFI, and its
# assembly functions have no types. So only the two files that jump to copied code are compiled
# with it, and kallsyms gets their symbols without the types.
SPECIAL = {"hide": [f"CFLAGS_pageattr.o=-include {HIDE}"],
           "kcfi": ["CFLAGS_machine_kexec.o=-fsanitize=kcfi", "CFLAGS_hibernate.o=-fsanitize=kcfi",
                    f"NM={LAB / 'kernel/nm'}"]}
CLANG = "clang"                 # part of a configuration's name: built by clang and lld
DEFCONFIG = "defconfig"         # a fragment on top of arm64's defconfig, not of allnoconfig


def make_env(config="small"):
    """The environment of a kernel build: cross compiler, ccache, no host name."""
    cross = host.cross_compile()
    ccache = "" if CLANG in config else "ccache "       # clang's target is made of it
    # ccache compares the files that are included. On a miss, without this, it would run the
    # preprocessor to look for the same preprocessed text, and then compile from the start. That
    # takes 1.4 times as long as compiling alone.
    # The lab's make and the kernel's both have an M=, with different meanings.
    mine = {key: value for key, value in os.environ.items()
            if key not in ("M", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")}
    return {**mine, "ARCH": "arm64", "CROSS_COMPILE": f"{ccache}{cross}" if cross else "",
            # The same text in another folder is found again, see folder().
            "CCACHE_DIR": str(BUILD / "ccache"), "CCACHE_NOHASHDIR": "1",
            "CCACHE_DEPEND": "1",
            "KBUILD_BUILD_USER": "lab", "KBUILD_BUILD_HOST": "lab", "LC_ALL": "C"}


def make(src, out, config, *targets):
    """The command that has make do something in `out`, see folder()."""
    argv = ["make", "-C", str(src), f"O={out.resolve()}", f"-j{CPUS}", "HOSTCC=ccache gcc",
            *targets]
    for part in config.split("+"):
        argv += SPECIAL.get(part, [])
    if CLANG in config:
        version = host.clang(of_tree(src))
        return [*argv, f"LLVM=-{version}", f"CC=ccache clang-{version}"]
    return argv if host.cross_compile() else [*argv, "CC=ccache gcc"]


def folder(src, out):
    """Make `out` a link to a folder just below the source tree, to build it in.

    File names in such a build are relative to the tree, so ccache finds objects that were compiled
    from the same text in another tree. The name begins with a dot, because the kernel's .gitignore
    ignores such names.
    """
    real = src / f".{label(out)}"
    real.mkdir(exist_ok=True)
    if not (out.is_symlink() and out.resolve() == real.resolve()):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove(out)
        out.symlink_to(os.path.relpath(real, out.parent))
    return out


def source(which):
    """The source tree of the kernel called `which`; a mutant stands in for the series."""
    if MUTANT and which == "series":
        return MUTANTS / "linux"
    return {"series": tree.tree, "base": tree.base_tree, "v6.1": sources.mainline}[which]()


def source_state(src):
    """A text that changes when a source tree changes: commit and edits, or the version."""
    if not (src / ".git").exists():
        return source_version(src)
    return (output(["git", "rev-parse", "HEAD"], cwd=src)
            + output(["git", "diff", "HEAD"], cwd=src))


def fragment(base, config):
    """The lines of a configuration: of the fragments in lab/config that every kernel of a base
    has, and then of those that `config` names, as "A+B". A later line replaces an earlier one
    about the same symbol. A fragment in the folder of the base comes after the fragment of the
    same name that all bases share. "clang" is no fragment. A configuration on top of arm64's
    defconfig has only the fragments that it names."""
    lines = {}
    named = config.replace(f"+{CLANG}", "").split("+")
    for name in dict.fromkeys(named if DEFCONFIG in config else [*base.fragments, *named]):
        paths = [path for folder in (LAB / "config", LAB / "config" / base.name)
                 if (path := folder / f"{name}.config").is_file()]
        if not paths:
            raise LabError(f"{LAB / 'config'} has no {name}.config, nor for {base.name}")
        for line in "\n".join(path.read_text() for path in paths).splitlines():
            if line.startswith("CONFIG_"):
                lines[line.partition("=")[0]] = line
    return list(lines.values())


def beneath(src, config, wanted):
    """What a configuration begins with: the target of make that sets all other symbols than those
    of the lines `wanted`, and the lines of arm64's defconfig about other symbols, if it is on top
    of that."""
    if DEFCONFIG not in config:
        return "allnoconfig", []
    names = {line.partition("=")[0] for line in wanted}
    lines = (src / "arch/arm64/configs/defconfig").read_text().splitlines()
    return "alldefconfig", [line for line in lines
                            if (found := re.search(r"CONFIG_\w+", line)) and found[0] not in names]


def label(out):
    """A name for the lock and the log of a kernel's folder: kernel-series and so on."""
    return "-".join(out.relative_to(BUILD).parts)


def configure(src, out, config):
    """Write out/.config from fragments and what they go on top of, if that has changed."""
    base = of_tree(src)
    wanted = fragment(base, config)
    target, lines = beneath(src, config, wanted)
    asked = folder(src, out) / "lab.config"
    text = "\n".join([*lines, *wanted]) + "\n"
    if asked.is_file() and asked.read_text() == text:
        return
    with made_whole(asked) as scratch:
        scratch.write_text(text)
        asked.unlink(missing_ok=True)
        run(make(src, out, config, f"KCONFIG_ALLCONFIG={scratch}", target),
            "configuring the kernel", log=f"{label(out)}.log", env=make_env(config))
        have = set((out / ".config").read_text().splitlines())
        for line in wanted:
            name, _, value = line.partition("=")
            # A version that the base was not made for may lack the symbol.
            if line not in have and value != "n" and base.made_for(source_version(src)):
                raise LabError(f"the configuration {config} asks for {line}, but something that "
                               f"{name} depends on is not set")


def watched(argv, env, path, name, total=""):
    """Run make for a long build, with its output in a log at `path` and a line of progress every
    ten seconds. Return its exit status. The line has `name`, the number of files and `total`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = time.monotonic()
    done = 0
    with open(path, "w", encoding="utf-8") as log:
        with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as made:
            for line in made.stdout:
                log.write(line)
                done += 1
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    say(f"  {name}: {done}{total} files")
    return made.returncode


def must_be_built(status, path):
    """Stop if a build has failed, with the errors in its log."""
    if status:
        lines = path.read_text(errors="replace").splitlines()
        wrong = [text for text in lines if "rror" in text or "No space left" in text] or lines
        raise LabError("building the kernel failed (log: {}):\n  {}".format(
            path, "\n  ".join(wrong[:6])))


def compile_kernel(src, out, config):
    """make Image; return the seconds that it took."""
    path = LOGS / f"{label(out)}.log"
    started = time.monotonic()
    total = "" if DEFCONFIG in config else f" of about {of_tree(src).objects}"
    status = watched(make(src, out, config, "Image"), make_env(config), path, out.name, total)
    lines = path.read_text(errors="replace").splitlines()
    # The compiler is newer than v5.10, so it warns about other files. It must not warn about files
    # that the series touches.
    warned = [text for text in lines if "warning:" in text and out.name.startswith("series")
              and any(name in text for name in tree.SERIES.touched())]
    if warned:
        for name in tree.SERIES.touched():     # to be told again by the next build
            (out / tree.object_of(name)).unlink(missing_ok=True)
        raise LabError("the compiler warns of the series (log: {}):\n  {}".format(
            path, "\n  ".join(warned[:6])))
    must_be_built(status, path)
    return time.monotonic() - started


def copy_build(like, scratch, src):
    """Copy a build's folder to `scratch`, to go on with in `src`. If that is another tree, then
    make has to do again what comes from files that differ. All else of the copy gets one time,
    which is later than that of the tree's other files."""
    shutil.copytree(like, scratch, symlinks=True)
    (scratch / STAMP).unlink()
    other = like.resolve().parent
    if other == src.resolve():
        return
    now = time.time_ns()
    for where, _, names in os.walk(scratch):
        for path in (os.path.join(where, name) for name in names):
            if not os.path.islink(path):
                os.utime(path, ns=(now, now))
    head = output(["git", "rev-parse", "HEAD"], cwd=src).strip()
    for name in output(["git", "diff", "--name-only", head], cwd=other).splitlines():
        if (src / name).is_file():
            os.utime(src / name)


def similar(which, config):
    """A build to begin with, None if there is none: the one without the last fragment, if that is
    light, and for the base the series' own, if that is there."""
    heavy, _, last = config.rpartition("+")
    if last in LIGHT:
        return kernel(which, heavy)
    stamp = folder_of("series", config) / STAMP
    if (which == "base" and not MUTANT and stamp.is_file()
            and stamp.read_text() == state_of(source("series"), config)):
        return stamp.parent
    return None


def folder_of(which, config):
    """Where a kernel is built."""
    parent = MUTANTS if MUTANT and which == "series" else HERE
    return parent / "kernel" / (which if config == "small" else f"{which}-{config}")


def state_of(src, config):
    """What a kernel is built from, as a text."""
    state = source_state(src) + "\n".join(fragment(of_tree(src), config))
    return state + HIDE.read_text() if "hide" in config.split("+") else state


def kernel(which, config="small"):
    """The folder with Image and vmlinux of "series", "base" or "v6.1", built if need be.

    config: see fragment().
    """
    src = source(which)
    out = folder_of(which, config)
    with locked(label(out)):
        state = state_of(src, config)
        stamp = out / STAMP
        if stamp.is_file() and stamp.read_text() == state:
            return out
        need_space(BUILD, 1000)
        stamp.unlink(missing_ok=True)
        if not out.is_dir() and (like := similar(which, config)):
            with made_whole(src / f".{label(out)}") as scratch:
                copy_build(like, scratch, src)
        say(f"building the {out.name} kernel")
        configure(src, out, config)
        seconds = compile_kernel(src, out, config)
        stamp.write_text(state)
        say(f"built the {out.name} kernel in {seconds:.0f} s")
    return out


def kernels(wanted):
    """Build what kernel() is asked for: (kernel, configuration) each. Two builds run at a time.
    Configuring and linking are serial, so each build has phases that leave a CPU idle. The base
    comes after the series, because it starts from a copy of the series' build."""
    base = [one for one in wanted if one[0] == "base"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for group in ([one for one in wanted if one not in base], base):
            try:
                list(pool.map(lambda one: kernel(*one), group))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


@functools.cache
def symbols(vmlinux):
    """{name: address} of a kernel."""
    lines = output([f"{host.cross_compile()}nm", vmlinux]).splitlines()
    return {name: int(address, 16) for address, _, name in map(str.split, lines)}


def asm_offset(out, name):
    """The offset of a field by which a kernel's assembly finds it, None where it needs none."""
    text = (out / "include/generated/asm-offsets.h").read_text()
    found = re.search(rf"^#define {name} (\d+) ", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def tag(which):
    """A name for what is made from the kernel called `which`."""
    return "mutant" if MUTANT and which == "series" else which


def plugin():
    """The TCG plugin, built for the QEMU of this machine."""
    src = LAB / "plugin" / "relocation.c"
    out = BUILD / "plugin" / "relocation.so"
    with locked("plugin"):
        if not out.is_file() or out.stat().st_mtime < src.stat().st_mtime:
            out.parent.mkdir(parents=True, exist_ok=True)
            glib = output(["pkg-config", "--cflags", "glib-2.0"]).split()
            run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *glib,
                 f"-I{qemu.plugin_header()}", "-o", out, src], "building the QEMU plugin",
                log="plugin.log")
    return out


def command(words):
    """Build the kernels named; without names the series, if the base has one, and the base."""
    wanted = words or [*(["series"] if tree.SERIES.patches() else []), "base"]
    for which in wanted:
        if which not in ("series", "base", "v6.1"):
            raise LabError(f"no kernel is called {which}: series, base or v6.1")
    kernels([(which, "small") for which in wanted])
    for which in wanted:
        say(f"{kernel(which)}/arch/arm64/boot/Image")


if __name__ == "__main__":
    main(command)
