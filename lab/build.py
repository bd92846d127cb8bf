# SPDX-License-Identifier: GPL-2.0-only
"""Kernels and the QEMU plugin, built out of tree below build/."""

import concurrent.futures
import functools
import os
import shutil
import subprocess
import time

from lab import fetch, host, tree
from lab.util import (BUILD, CPUS, LAB, LOGS, MUTANT, MUTANTS, LabError, locked, made_whole, main,
                      need_space, output, remove, run, say)

# Files that a kernel of lab/config/small.config compiles, for the progress line.
SMALL_STEPS = 1010
# Fragments that change so little that most objects of the kernel without them do.
LIGHT = ("nokexec",)
CLANG = "clang"                 # part of a configuration's name: built by clang and lld


def make_env(config="small"):
    """The environment of a kernel build: cross compiler, ccache, no host name."""
    cross = host.cross_compile()
    ccache = "" if CLANG in config else "ccache "       # clang's target is made of it
    # For what it has not, ccache runs the preprocessor to look for the same text, and then
    # the compiler from the start, in 1.4 times the compiler's time. Only the base and the
    # series, whose autoconf.h differ, have the same text; others need not look, and those can
    # compile what was preprocessed.
    sharing = {"CCACHE_NOCPP2" if config == "small" else "CCACHE_DEPEND": "1"}
    # The M= of the lab's own make would be the kernel's, which is something else.
    mine = {key: value for key, value in os.environ.items()
            if key not in ("M", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")}
    return {**mine, "ARCH": "arm64", "CROSS_COMPILE": f"{ccache}{cross}" if cross else "",
            # The same text in another folder is found again, see folder().
            "CCACHE_DIR": str(BUILD / "ccache"), "CCACHE_NOHASHDIR": "1", **sharing,
            "KBUILD_BUILD_USER": "lab", "KBUILD_BUILD_HOST": "lab", "LC_ALL": "C"}


def make(src, out, config, *targets):
    """The command that has make do something in `out`, see folder()."""
    argv = ["make", "-C", str(src), f"O={out.resolve()}", f"-j{CPUS}", "HOSTCC=ccache gcc",
            *targets]
    if CLANG in config:
        return [*argv, "LLVM=1", "CC=ccache clang"]
    return argv if host.cross_compile() else [*argv, "CC=ccache gcc"]


def folder(src, out):
    """Make `out` a link to a folder just below the source tree, to build it in.

    Names in such a build are relative to it, so ccache finds what was compiled from another
    tree with the same text. A name with a dot: the kernel's .gitignore has those.
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
    return {"series": tree.tree, "base": tree.base_tree, "v6.1": fetch.mainline_source}[which]()


def source_state(src):
    """What tells that a source tree has changed: commit and edits, or the version."""
    if not (src / ".git").exists():
        return fetch.source_version(src)
    return (output(["git", "rev-parse", "HEAD"], cwd=src)
            + output(["git", "diff", "HEAD"], cwd=src))


def fragment(config):
    """The lines of lab/config/small.config, and of the fragments that `config` names on top
    of it, "A+B": each line takes the place of an earlier one about the same symbol. "clang"
    is none of them."""
    lines = {}
    for name in dict.fromkeys(["small", *config.replace(f"+{CLANG}", "").split("+")]):
        path = LAB / "config" / f"{name}.config"
        if not path.is_file():
            raise LabError(f"there is no {path}")
        for line in path.read_text().splitlines():
            if line.startswith("CONFIG_"):
                lines[line.partition("=")[0]] = line
    return list(lines.values())


def label(out):
    """A name for the lock and the log of a kernel's folder: kernel-series and so on."""
    return "-".join(out.relative_to(BUILD).parts)


def configure(src, out, config):
    """Write out/.config from allnoconfig and fragments, if it is not as that would be."""
    wanted = fragment(config)
    asked = folder(src, out) / "lab.config"
    text = "\n".join(wanted) + "\n"
    if asked.is_file() and asked.read_text() == text:
        return
    with made_whole(asked) as scratch:
        scratch.write_text(text)
        asked.unlink(missing_ok=True)
        run(make(src, out, config, f"KCONFIG_ALLCONFIG={scratch}", "allnoconfig"),
            "configuring the kernel", log=f"{label(out)}.log", env=make_env(config))
        have = set((out / ".config").read_text().splitlines())
        for line in wanted:
            name, _, value = line.partition("=")
            # Another version may have settled what v5.10 asks.
            if (line not in have and value != "n"
                    and fetch.source_version(src).startswith("5.10.")):
                raise LabError(f"the configuration {config} asks for {line}, but something that "
                               f"{name} depends on is not set")


def compile_kernel(src, out, config):
    """make Image, with a line of progress every few seconds."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{label(out)}.log"
    started = said = time.monotonic()
    done = 0
    with open(path, "w", encoding="utf-8") as log:
        with subprocess.Popen(make(src, out, config, "Image"), env=make_env(config),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as made:
            for line in made.stdout:
                log.write(line)
                done += 1
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    say(f"  {out.name}: {done} of about {SMALL_STEPS} files")
    lines = path.read_text().splitlines()
    # The compiler is newer than v5.10 and warns elsewhere; not in what the series touches.
    warned = [text for text in lines if "warning:" in text and out.name.startswith("series")
              and any(name in text for name in tree.touched())]
    if warned:
        for name in tree.touched():     # to be told again by the next build
            (out / tree.object_of(name)).unlink(missing_ok=True)
        raise LabError("the compiler warns of the series (log: {}):\n  {}".format(
            path, "\n  ".join(warned[:6])))
    if made.returncode:
        wrong = [text for text in lines if "rror" in text or "No space left" in text] or lines
        raise LabError("building the kernel failed (log: {}):\n  {}".format(
            path, "\n  ".join(wrong[:6])))
    return time.monotonic() - started


def kernel(which, config="small"):
    """The folder with Image and vmlinux of "series", "base" or "v6.1", built if need be.

    config: see fragment().
    """
    src = source(which)
    parent = MUTANTS if MUTANT and which == "series" else BUILD
    out = parent / "kernel" / (which if config == "small" else f"{which}-{config}")
    with locked(label(out)):
        state = source_state(src) + "\n".join(fragment(config))
        stamp = out / "lab.built"
        if stamp.is_file() and stamp.read_text() == state:
            return out
        need_space(BUILD, 1000)
        stamp.unlink(missing_ok=True)
        heavy, _, last = config.rpartition("+")
        if last in LIGHT and not out.is_dir():
            like = kernel(which, heavy)
            with made_whole(src / f".{label(out)}") as scratch:
                shutil.copytree(like, scratch, symlinks=True)
                (scratch / stamp.name).unlink()
        say(f"building the {out.name} kernel")
        configure(src, out, config)
        seconds = compile_kernel(src, out, config)
        stamp.write_text(state)
        say(f"built the {out.name} kernel in {seconds:.0f} s")
    return out


def kernels(wanted):
    """Build what kernel() is asked for: (flavour, configuration) each. Two at a time, for
    make has but one thing to do while it configures and while it links; the base after the
    series, whose objects it finds."""
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
            run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                 f"-I{fetch.plugin_header()}", "-o", out, src], "building the QEMU plugin",
                log="plugin.log")
    return out


def command(words):
    """Build the kernels named; without names the series and the base."""
    wanted = words or ["series", "base"]
    for which in wanted:
        if which not in ("series", "base", "v6.1"):
            raise LabError(f"no kernel is called {which}: series, base or v6.1")
    kernels([(which, "small") for which in wanted])
    for which in wanted:
        say(f"{kernel(which)}/arch/arm64/boot/Image")


if __name__ == "__main__":
    main(command)
