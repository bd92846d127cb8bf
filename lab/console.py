# SPDX-License-Identifier: GPL-2.0-only
"""The serial console of a machine, and what on it counts as trouble. Nothing else knows pexpect.

Everything that goes wrong (a report of the kernel, an early end, silence) is a LabError of one
line that names the console log."""

import contextlib
import pathlib
import re
import shlex
import time

import pexpect

from lab.options import option
from lab.util import LabError, no_command

# A timeout in seconds, ten times what an idle machine with two cores needs. Every timeout of a
# guest is this one or a multiple of it, so a slow machine has one number to raise.
PATIENCE = option("LAB_PATIENCE", 60)
PROMPT = "lab# "
KERNEL_LINE = re.compile(r"\[ *\d+\.\d{6}\] [^\n]*\n")
# v7.3 prints kernel messages from a thread. So whole lines of them can stand between any two
# characters of what the guest itself prints.
MESSAGES = rf"(?:{KERNEL_LINE.pattern})*"
LINE_END = re.compile(r"\r+\n")     # the guest's terminal and QEMU's both add a return

# The pattern matches whole lines, so that the error has the whole report. The crash that the kdump
# test asks for is no trouble.
TROUBLE = re.compile(
    r"[^\n]*(?:Kernel panic - not syncing: (?!sysrq triggered crash)|"
    r"Unable to handle kernel|Internal error:|Oops|\bBUG\b|WARNING: |\bKASAN\b|\bUBSAN\b|"
    r"possible (?:circular|recursive) locking|inconsistent lock state|suspicious RCU usage|"
    r"INFO: (?:task|rcu|trying to register)|detected stalls|BUG: Bad page state|"
    r"-\[ cut here \]-|list_(?:add|del) corruption|pagealloc: |lockdep is turned off|"
    r"new suspected memory leaks|Kernel memory leak detector disabled|"
    r"Synchronous External Abort|SError Interrupt)[^\n]*\n")


def seconds(since):
    """Seconds of wall clock since a time.monotonic()."""
    return round(time.monotonic() - since, 2)


def without_messages(text):
    """What the guest itself printed."""
    return KERNEL_LINE.sub("", text)


def printed(text):
    """A pattern for what the guest itself prints, whatever the kernel says in the middle of it."""
    return MESSAGES.join(re.escape(character) for character in text)


def printed_line(text):
    """The same for a line, or the end of one: text, and maybe a word more.

    The word is a group, which can have messages in it.
    """
    return (rf"{printed(text)}{MESSAGES}((?:(?!{KERNEL_LINE.pattern})\S{MESSAGES})*)"
            rf"(?:\r{MESSAGES})+\n")


class Console:
    """What a command prints and is told, written to a log as well. patience: seconds, see
    PATIENCE."""

    def __init__(self, log, patience=PATIENCE):
        self.log = pathlib.Path(log)
        self.patience = patience
        self.child = None
        self.count = 0

    def start(self, argv):
        """Start the command whose console it is."""
        try:
            self.child = pexpect.spawn(argv[0], argv[1:], echo=False, encoding="utf-8",
                                       codec_errors="replace", maxread=1 << 16)
        except pexpect.ExceptionPexpect:
            raise no_command(argv[0]) from None
        self.child.delaybeforesend = None
        self.child.logfile_read = open(self.log, "w", encoding="utf-8", newline="")

    def end(self):
        """Have the command end. pexpect kills it and looks 0.1 s later: too soon on a busy host."""
        deadline = time.monotonic() + PATIENCE
        while not self.child.closed:
            try:
                self.child.close(force=True)
            except pexpect.ExceptionPexpect:
                if time.monotonic() > deadline:
                    raise
        self.child.logfile_read.close()

    def fail(self, why):
        """Raise, once the log has the rest of what the guest is saying."""
        with contextlib.suppress(pexpect.TIMEOUT):
            self.child.expect(pexpect.EOF, timeout=1)
        self.child.logfile_read.flush()
        raise LabError(f"{why} (console log: {self.log})")

    def expect(self, pattern, timeout=None, what=None):
        """Wait for the pattern on the console; return the match object."""
        what = what or repr(pattern)
        timeout = timeout or self.patience
        found = self.child.expect([pattern, TROUBLE, pexpect.EOF, pexpect.TIMEOUT], timeout)
        if found == 1:
            self.fail(f"while waiting for {what}: {self.child.match.group().strip()}")
        if found == 2:
            last = self.child.before.strip().rpartition("\n")[2].strip()
            self.fail(f"the machine ended while waiting for {what}; its last line: {last}")
        if found == 3:
            self.fail(f"no {what} within {timeout} s")
        return self.child.match

    def wait_ready(self, timeout=None):
        """Wait for a kernel to reach the shell of user space; return its release."""
        found = self.expect(printed_line("LAB READY "), timeout, "user space")
        self.wait_prompt(timeout)
        return without_messages(found.group(1))

    def wait_prompt(self, timeout=None):
        """Wait for the shell to be ready for a line."""
        self.expect(printed(PROMPT), timeout, "the shell")

    def sh(self, command, timeout=None, check=True):
        """Run a command in the guest; return what it printed.

        Kernel messages land where they happen, see answer(). check: fail on an exit status but 0.
        """
        self.count += 1
        mark = f"LAB{self.count}"
        # eval: whatever the command ends with, what follows still runs.
        self.send(f"echo {mark} BEGIN; eval {shlex.quote(command)}; echo {mark} END $?")
        self.expect(printed_line(f"{mark} BEGIN"), timeout, f"'{command}'")
        found = self.expect(printed_line(f"{mark} END "), timeout, f"the end of '{command}'")
        status = without_messages(found.group(1))
        text = LINE_END.sub("\n", self.child.before)
        self.wait_prompt(timeout)
        if check and status != "0":
            self.fail(f"'{command}' ended with status {status}: {' '.join(text.split())[-300:]}")
        return text

    def answer(self, command, check=True):
        """What a command prints, without what the kernel says meanwhile. Not for dmesg."""
        return without_messages(self.sh(command, check=check))

    def number(self, command):
        """The number that a command prints."""
        text = self.answer(command)
        if not text.strip().isdecimal():
            self.fail(f"'{command}' printed no number: {' '.join(text.split())[-300:]}")
        return int(text)

    def send(self, line):
        """Type a line."""
        self.child.send(line + "\n")

    def wait_exit(self, timeout=None):
        """Wait until the machine has switched itself off, as the last send() asked."""
        timeout = timeout or self.patience
        found = self.child.expect([TROUBLE, printed(PROMPT), pexpect.EOF, pexpect.TIMEOUT], timeout)
        if found == 0:
            self.fail(f"while switching off: {self.child.match.group().strip()}")
        if found == 1:
            self.fail(f"back at the shell instead of off: {' '.join(self.child.before.split())}")
        if found == 3:
            self.fail(f"not switched off within {timeout} s")
        self.child.wait()
        if self.child.exitstatus:
            self.fail(f"QEMU ended with status {self.child.exitstatus}")

    def text(self):
        """All that the console has shown."""
        if not self.child.logfile_read.closed:
            self.child.logfile_read.flush()
        with open(self.log, encoding="utf-8", newline="") as log:
            return LINE_END.sub("\n", log.read())

    def check(self):
        """Fail on any report of trouble, whether or not somebody waited for it. The
        end of the `with` does this when all went well so far."""
        report = TROUBLE.search(self.text())
        if report:
            raise LabError(f"{report.group().strip()} (console log: {self.log})")
