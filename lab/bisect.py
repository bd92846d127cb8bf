# SPDX-License-Identifier: GPL-2.0-only
"""`make bisect`: the kernel builds and hands over after every patch of the series. So a bisection
for another bug can stop at any of them.

For each: gcc builds Image with 4K pages, and gcc and clang the files that the series touches
with 4K and 64K pages. A warning (W=1) about these that the base does not have is a failure.
Then the kernel does a kexec and a hibernation at one level. The data must arrive whole. Whether
the MMU was on is shown and not judged, because it is off before the patch that switches it on.
"""

import concurrent.futures
import subprocess
import time

from lab import build, check, scenario, tree
from lab.board import Board
from lab.here import BASE, HERE
from lab.util import LabError, locked, main, output, say

FOLDER = HERE / "bisect"
LINUX = FOLDER / "linux"
LEVEL = "nvhe"
PAYLOAD = 16                    # MiB
PAGES = {"4K": "small", "64K": "64k48"}
IMAGE = FOLDER / "image"          # where the kernel is built that is booted


def checkout(commit):
    """Bring the work tree build/BASE/bisect/linux to a commit. Only files that differ are written,
    so only these are compiled."""
    tree.work_tree(LINUX)
    output(["git", "checkout", "-q", "-f", "--detach", commit], cwd=LINUX)


def make(compiler, pages, out, *goals):
    """make goals in `out`; return what was said."""
    config = check.config(LINUX, PAGES[pages])
    config += f"+{build.CLANG}" if compiler == "clang" else ""
    build.configure(LINUX, out, config)
    done = subprocess.run(build.make(LINUX, out, config, *goals), env=build.make_env(config),
                          text=True, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = done.stdout.splitlines()
        wrong = [line for line in lines if "rror" in line] or lines
        raise LabError(f"{compiler} {pages} does not build:\n    " + "\n    ".join(wrong[:6]))
    return done.stdout


def warnings(compiler, pages):
    """Compile all files of the series anew, because make shows a warning only once. Return the
    warnings about them, see check.messages()."""
    out = FOLDER / f"{compiler}-{pages}"
    # These configurations have no KVM.
    goals = [tree.object_of(name) for name in [*check.objects(), *check.touched(".S")]
             if (LINUX / name).is_file() and "/kvm/" not in name]
    # asm-offsets.c is compiled too: to a list of numbers, before all others.
    for goal in [*goals, "arch/arm64/kernel/asm-offsets.s"]:
        (out / goal).unlink(missing_ok=True)
    return check.messages(make(compiler, pages, out, "W=1", *goals),
                          check.touched(".c", ".h", ".S"))


def hand_over():
    """kexec and hibernation of the kernel just built; return what was seen, in words."""
    rig = scenario.Rig(f"bisect-{LEVEL}", Board(LEVEL), FOLDER / "log", "bisect", PAYLOAD,
                       built=IMAGE)
    with rig.booted() as machine:
        figures = scenario.kexec(machine)
    with rig.resumed():
        pass
    how = {None: "not watched", 0: "on"}.get(figures.mmu_off, "off")
    return f"kexec (MMU {how}) and hibernation work"


class Bisection:
    """Compiles one commit after the other. The first is the base, and the others are compared with
    it."""

    def __init__(self, builds):
        self.builds = builds    # (compiler, pages) each
        self.known = {}

    def step(self, commit):
        """Go to a commit and compile it; see compile()."""
        checkout(commit)
        self.compile()

    def compile(self):
        """Compile the files of the series as they are now; raise at a new warning."""
        new = []
        # Several at once: most of what make does for a few files is serial.
        with concurrent.futures.ThreadPoolExecutor(len(self.builds)) as pool:
            for which, found in zip(self.builds, pool.map(lambda which: warnings(*which),
                                                          self.builds)):
                known = self.known.setdefault(which, found)
                new += [f"{' '.join(which)}: {text}"
                        for text in check.new_messages(found, known)]
        if new:
            raise LabError("\n    ".join(["new warnings:", *new]))


def command(_):
    """make bisect"""
    scenario.prepare(payload=PAYLOAD)
    tree.tree()
    failed = 0
    with locked(f"{BASE.name}-bisect"):
        bisection = Bisection([(compiler, pages) for compiler in ("gcc", "clang")
                               for pages in PAGES])
        commits = tree.git_linux("rev-list", "--reverse", "base..HEAD").split()
        say(f"building the base in {len(bisection.builds)} ways, to know its warnings")
        bisection.step("base")
        for number, commit in enumerate(commits, 1):
            name = f"{number:04d} {output(['git', 'log', '-1', '--format=%s', commit], cwd=LINUX)}"
            start = time.monotonic()
            try:
                bisection.step(commit)
                make("gcc", "4K", IMAGE, "Image")
                built = time.monotonic() - start
                line = f"passed {name.strip()}: built in {built:.0f} s, {hand_over()}"
            except LabError as error:
                line = f"FAILED {name.strip()}: {error}"
            failed += line.startswith("FAILED")
            print(f"{line}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{len(commits) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    main(command)
