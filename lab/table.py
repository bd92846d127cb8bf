# SPDX-License-Identifier: GPL-2.0-only
"""The table of machines, typed. A row is a machine and what is done on it. A mistake in the table
is an error that names its line, when the table is read."""

import configparser
import dataclasses
import re

from lab.base import BASES
from lab.board import KINDS, LEVELS, PSCI, Board
from lab.util import LAB, LabError

TABLE = LAB / "machines.cfg"
KERNELS = ("series", "base")


@dataclasses.dataclass(frozen=True)
class Row:
    """A machine of the table; what each key means is told at its beginning."""

    name: str
    board: Board
    kernel: str
    config: str
    payload: int
    transitions: tuple
    bases: tuple
    append: str = ""
    va: int | None = None
    to: str | None = None
    debian: str | None = None
    before: str | None = None
    after: str | None = None
    crash: str | None = None
    crash_loaded: bool = False
    burst: int | None = None
    patience: int | None = None
    untried: tuple = ()
    soak: bool = False
    skip: str | None = None
    known: str | None = None
    fails: tuple = ()

    def knows(self, why, consoles):
        """Whether an error and the text of the consoles match the failure that is known."""
        error, *others = self.fails or (None,)
        why = why.partition(" (console log: ")[0]       # the name of a log is no sign of anything
        return error is not None and bool(error.search(why)) and \
            all(any(sign.search(text) for text in consoles) for sign in others)


def number(text, least=0):
    """A number, decimal or with 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < least:
        raise ValueError(f"is no number from {least} up")
    return value


def positive(text):
    """A number, but not 0."""
    return number(text, 1)


def yes_no(text):
    """What a key that is either says."""
    if text not in ("yes", "no"):
        raise ValueError("is neither yes nor no")
    return text == "yes"


def one_of(words):
    """What takes one of these words alone."""
    words = [word for word in words if word]

    def check(text):
        if text not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return text

    return check


def some_of(words):
    """What takes one or more of these words, each once."""
    def check(text):
        found = text.split()
        for word in found:
            if word not in words:
                raise ValueError(f"has {word}, which is none of {', '.join(words)}")
        if len(set(found)) != len(found) or not found:
            raise ValueError("says nothing, or a word twice")
        return tuple(found)

    return check


def words(text):
    """Words, whichever they are."""
    return tuple(text.split())


def patterns(text):
    """Regular expressions, one a line."""
    try:
        return tuple(re.compile(line, re.MULTILINE) for line in text.splitlines() if line)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


# Keys that are the board's, with what makes a value of their text
BOARD = {"level": one_of(LEVELS), "cpu": str, "board": str, "memory": number, "smp": number,
         "nodes": number, "start": number, "seed": number, "psci": one_of(PSCI), "uefi": yes_no,
         "slots": number, "kind": one_of(KINDS), "smmu": yes_no, "parallel": yes_no}
# And the others
OTHERS = {"kernel": one_of(KERNELS), "config": str, "payload": number, "append": str,
          "va": number, "to": str, "debian": str, "before": str, "after": str, "crash": str,
          "crash_loaded": yes_no, "burst": number, "patience": number, "soak": yes_no,
          "untried": words, "skip": str, "known": str, "fails": patterns,
          "bases": some_of(BASES)}
NEEDED = ("kernel", "config", "payload", "transitions", "bases")
# These can also be said for one base, as "skip.v7.3", which is then what counts for that one.
OF_BASE = ("skip", "known", "fails")


def lines(text):
    """{(section, key, or None for its head): number of the line}."""
    found, section = {}, None
    for place, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\[(.+)\]", line):
            section = head[1]
            found[section, None] = place
        elif key := re.match(r"([^\s#;=:][^=:]*?)\s*[=:]", line):
            found[section, key[1].lower()] = place
    return found


def read(text, transitions, base, name=TABLE.name):
    """The rows of a table that a base has. transitions: the words that are allowed; name: of the
    file. A mistake in the rows of other bases is an error too."""
    table = configparser.ConfigParser(interpolation=None)
    try:
        table.read_string(text, name)
    except configparser.Error as error:
        raise LabError(" ".join(str(error).split())) from None
    places = lines(text)
    kinds = BOARD | OTHERS | {"transitions": some_of(transitions)}
    kinds |= {f"{key}.{one}": kinds[key] for key in OF_BASE for one in BASES}
    found = {one: [row(table[section], places, kinds, name, one) for section in table.sections()]
             for one in BASES}
    return [made for made in found[base] if base in made.bases]


def row(entry, places, kinds, name, base):
    """A row of a section of the table, as a base has it. places: lines(); kinds: what makes a
    value, by key."""
    head = f"{name}:{places[entry.name, None]}: [{entry.name}]"
    values = {}
    for key, text in entry.items():
        place = places.get((entry.name, key)) or places["DEFAULT", key]
        where = f"{name}:{place}: [{entry.name}] {key}"
        if key not in kinds:
            raise LabError(f"{where}: no key is called so; there are {', '.join(kinds)}")
        if not text:
            raise LabError(f"{where} says nothing")
        try:
            values[key] = kinds[key](text)
        except ValueError as error:
            raise LabError(f"{where} = {text} {error}") from None
    for key in OF_BASE:
        of_base = {one: values.pop(f"{key}.{one}", None) for one in BASES}
        if of_base[base] is not None:
            values[key] = of_base[base]
    for key in NEEDED:
        if key not in values:
            raise LabError(f"{head} does not say {key}")
    if ("known" in values) != ("fails" in values):
        raise LabError(f"{head}: known, why it fails, and fails, what that looks like, go together")
    soldered = {key: values.pop(key) for key in BOARD if key in values}
    try:
        board = Board(options=soldered.pop("board", ""), **soldered)
    except LabError as error:
        raise LabError(f"{head}: {error}") from None
    return Row(entry.name, board, **values)
