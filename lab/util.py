# SPDX-License-Identifier: GPL-2.0-only
"""What every part of the lab shares: where things are, how to run a command,
how to say what is going on and how to stop with one clear message."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
LAB = TOP / "lab"
BUILD = (TOP / "build").resolve()       # it may be on a larger disk
LOGS = BUILD / "log"
# Set while tests run against a mutant of the series, see lab/mutants.py
MUTANT = os.environ.get("LAB_MUTANT", "")
CPUS = len(os.sched_getaffinity(0))     # that this process may use
START = time.monotonic()


class LabError(Exception):
    """Something that the user can mend; the text says what and how."""


def say(text):
    """One line of progress, with the seconds since the command began."""
    print(f"[{time.monotonic() - START:6.1f}s] {text}", flush=True)


def counted(number, noun):
    """A number with its noun, as "1 hunk" or "2 hunks"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def main(function):
    """Run a command's main function; turn LabError into one line and exit 1."""
    try:
        sys.exit(function(sys.argv[1:]) or 0)
    except LabError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("error: the disk is full; make room and run the same command again",
              file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def or_exit():
    """The same for LabError while modules are imported, before main() has begun."""
    try:
        yield
    except LabError as error:
        sys.exit(f"error: {error}")


def no_command(name):
    """The error for a command that the machine lacks."""
    return LabError(f"no command {name} on this machine; 'make host' installs what the lab needs")


def need_space(path, mebibytes):
    """Stop before work that would fill the disk half-way."""
    path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path).free >> 20
    if free < mebibytes:
        raise LabError(f"{path} has {free} MiB free and this step needs {mebibytes} MiB: "
                       "make room, or put the repository on a larger disk")


def run(argv, what, log=None, cwd=None, env=None, stdin=None):
    """Run argv with its output in build/log/<log>; raise LabError when it fails.

    what: the step in a few words, for the error message.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / (log or "command.log")
    with open(path, "ab") as out:
        out.write(f"\n$ {shlex.join(map(str, argv))}\n".encode())
        out.flush()
        try:
            code = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, input=stdin,
                                  stdin=None if stdin is not None else subprocess.DEVNULL,
                                  stdout=out, stderr=out, check=False).returncode
        except FileNotFoundError:
            raise no_command(argv[0]) from None
    if code:
        tail = path.read_text(errors="replace").splitlines()[-8:]
        if any("No space left on device" in line for line in tail):
            raise LabError(f"{what}: the disk is full; make room and run it again (log: {path})")
        raise LabError(f"{what} failed with exit status {code}; the end of {path}:\n  "
                       + "\n  ".join(tail))


def output(argv, cwd=None, env=None, stdin=None, ok=(0,)):
    """The standard output of a command that is expected to work."""
    try:
        done = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, input=stdin,
                              capture_output=True, text=True, errors="surrogateescape",
                              check=False)
    except FileNotFoundError:
        raise no_command(argv[0]) from None
    if done.returncode not in ok:
        said = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"{shlex.join(map(str, argv))}: {said}")
    return done.stdout


@contextlib.contextmanager
def made_whole(path):
    """Yield a scratch path beside `path`; it takes that place only when the
    block ends without an exception, so a half-made result is never found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".part")
    remove(scratch)
    try:
        yield scratch
        remove(path)
        os.replace(scratch, path)
    finally:
        remove(scratch)


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(name):
    """Keep two lab commands from making the same thing at once."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / f".{name}.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another command that is making {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
