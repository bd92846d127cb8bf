# SPDX-License-Identifier: GPL-2.0-only
"""What follows from the counts: growth, goals, a model of time, and whether anything got
worse than what is committed."""

import json
import os

import numpy

from lab.here import BASE
from lab.util import LAB, LabError

EXPECTED = LAB / "bench" / BASE.name / "expected.json"
WORSE = 1.02                    # more of anything than this much of what is committed is a failure
GIB = 1024                      # MiB

PEER = BASE.peer                # whose relocation, as mainline's, has the MMU on
KERNELS = tuple(dict.fromkeys(("base", "series", PEER)))
# MiB of memory. A guest touches 1/64 of it, and two run at a time, so a small host leaves the
# largest out.
HOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
NEEDED = 16 * GIB               # of the host, for the largest
LARGEST = 256 * GIB
MEMORY = [GIB, 4 * GIB, 16 * GIB, 64 * GIB] + ([LARGEST] if HOST > NEEDED else [])
# (payload, memory) in MiB: one of them changes, the other stays, but for the last.
MEMORY_POINTS = [(64, memory) for memory in MEMORY]
POINTS = [(16, GIB), *MEMORY_POINTS, (256, 4 * GIB)]
PAYLOAD_POINTS = [(16, GIB), (64, GIB), (256, 4 * GIB)]
RESUME_MEMORY = [GIB, 4 * GIB, 8 * GIB, 16 * GIB, 64 * GIB]
# The host that growth is predicted for: payload and memory.
LARGE = (1024, 1024 * GIB)

# The figures that grow, and where they are in what measure.kexec() returns.
GROWING = {
    "relocation instructions": ("relocation", "insns"),
    "copy pages": ("copy", "pages"),
    "copy instructions": ("copy", "insns"),
    "load instructions": ("load", "insns"),
    "unload instructions": ("unload", "insns"),
    "jump instructions": ("jump", "insns"),
}
# What must not get worse; the same of a resume, as far as it has them.
WATCHED = [*GROWING.values(), ("relocation", "insns_per_page"), ("relocation", "mmu_off_bytes"),
           ("relocation", "mmu_off_insns"), ("jump", "from_kernel_kexec_insns"),
           ("insns",), ("pages",)]

# The model of time; see bench.md for its terms.
LATENCY = 100e-9                # of a load or store that goes to memory
FETCH = 4                       # instructions that one uncached fetch brings: 16 bytes
LINES = 2 * 64                  # cache lines of 64 bytes that copying a page moves
OVERLAP = 8                     # cache misses that a CPU has in flight
RATE = 2e9                      # instructions per second where memory does not matter
# (machine, MiB, seconds with the MMU off, with it on), from the cover letters of the v5.16 work
PUBLISHED = [("ThunderX2", 84, 7.49, 0.039), ("Stingray", 25, 0.44, 0.022)]


def pick(figures, path):
    """A figure by its path, or None."""
    for key in path:
        figures = figures.get(key) if figures else None
    return figures


def size(mib):
    """16M, 64G, 1T"""
    for unit in "MG":
        if mib < 1024:
            return f"{mib}{unit}"
        mib //= 1024
    return f"{mib}T"


def least_squares(rows, values):
    """The coefficients, and the largest relative error at a point."""
    matrix, wanted = numpy.array(rows, dtype=float), numpy.array(values, dtype=float)
    found = numpy.linalg.lstsq(matrix, wanted, rcond=None)[0]
    error = numpy.max(numpy.abs(matrix @ found - wanted) / numpy.maximum(wanted, 1))
    return found, float(error)


def growth(points):
    """For each figure a plane through the points of one kernel by least squares, in
    instructions or pages: fixed, per GiB of memory and per MiB of payload."""
    result = {}
    for name, path in GROWING.items():
        values = [pick(figures, path) for figures in points.values()]
        if None in values:
            result[name] = None
            continue
        rows = [(1, memory / GIB, payload) for payload, memory in points]
        (fixed, per_gib, per_mib), error = least_squares(rows, values)
        payload, memory = LARGE
        predicted = fixed + per_gib * memory / GIB + per_mib * payload
        # + 0.0: not minus nothing
        result[name] = {"fixed": round(fixed), "per_gib": round(per_gib, 1) + 0.0,
                        "per_mib": round(per_mib, 1) + 0.0, "largest_error": round(error, 4),
                        "predicted": round(predicted)}
    return result


def uncached(figures):
    """Seconds that the model gives a page with the MMU off: a trip to memory for each data
    access and for each fetch of instructions, one after the other."""
    relocation = figures["relocation"]
    accesses = relocation["accesses"]["low"] / relocation["pages"]
    return (accesses + relocation["insns_per_page"] / FETCH) * LATENCY


def cached(figures):
    """Seconds that the model gives a page with the MMU on: the cache lines that it moves,
    several in flight, and the instructions."""
    return LINES * LATENCY / OVERLAP + figures["relocation"]["insns_per_page"] / RATE


def model(points):
    """Time on hardware, as the model has it: against what was published, and for LARGE."""
    at = {which: points[which][64, GIB] for which in KERNELS}
    per_page = {"base": uncached(at["base"]), "series": cached(at["series"]),
                "v6.1": cached(at[PEER])}
    check = []
    for machine, mib, off, on in PUBLISHED:
        pages = mib * 256
        check.append({"machine": machine, "mib": mib,
                      "off": {"published": off, "model": round(pages * per_page["base"], 3)},
                      "on": {"published": on, "model": round(pages * per_page["v6.1"], 4)}})
    ratios = [case[half]["model"] / case[half]["published"]
              for case in check for half in ("off", "on")]
    return {"seconds_per_page": {which: round(value * 1e6, 3) / 1e6
                                 for which, value in per_page.items()},
            "check": check, "off_by_factor": round(max(max(ratios), 1 / min(ratios)), 1),
            "large_relocation_seconds": {which: round(LARGE[0] * 256 * value, 2)
                                         for which, value in per_page.items()}}


def assemble(points, resumes):
    """bench.json without its head. points: {kernel: {(payload, memory): figures}}; resumes:
    {kernel: {memory: figures}}."""
    def by_payload(what):
        return {which: {size(point[0]): points[which][point][what] for point in PAYLOAD_POINTS}
                for which in KERNELS}

    def by_memory(what):
        return {which: {size(point[1]): points[which][point][what] for point in MEMORY_POINTS}
                if points[which][MEMORY_POINTS[0]][what] else None for which in KERNELS}

    bench = {
        "relocation": by_payload("relocation"), "jump": by_payload("jump"),
        "copy": by_memory("copy"), "load": by_memory("load"), "unload": by_memory("unload"),
        "load_by_payload": by_payload("load"),
        "resume": {which: {size(memory): figures for memory, figures in found.items()}
                   for which, found in resumes.items()},
        "growth": {which: growth(points[which]) for which in KERNELS},
        "model": model(points) if PEER != "base" else None,
    }
    return bench | {"goals": goals(bench)}


def goals(bench):
    """[{goal, value, limit, met}] of the series, most of them against v6.1 or the base."""
    found = goals_of_base(bench) if PEER == "base" else goals_of_peer(bench)
    return [{"goal": name, "value": value, "limit": limit, "met": value <= limit}
            for name, value, limit in found]


def part(bench, what, key, figure, peer="base"):
    """What the series has of a figure, in parts of what another kernel has."""
    ours, theirs = (bench[what][which][key][figure] for which in ("series", peer))
    return round(ours / theirs, 3)


def goals_of_base(bench):
    """[(goal, value, limit)] where the base has the library, and so is what to compare with."""
    moved = bench["relocation"]["series"]
    return [("relocation instructions per page, of the base's",
             part(bench, "relocation", "64M", "insns_per_page"), 0.62),
            ("copy pages at 64 GiB", bench["copy"]["series"]["64G"]["pages"], 16),
            ("instructions to build and check the copy at 16 GiB, of the base's",
             part(bench, "copy", "16G", "insns"), 0.35),
            ("load instructions at 16 GiB, of the base's",
             part(bench, "load", "16G", "insns"), 0.7),
            ("load instructions at 1 GiB, of the base's",
             part(bench, "load", "1G", "insns"), 1.02),
            ("unload instructions at 1 GiB, of the base's",
             part(bench, "unload", "1G", "insns"), 1.02),
            ("bytes moved with the MMU off",
             max(moved[key]["mmu_off_bytes"] for key in moved), 0)]


def goals_of_peer(bench):
    """[(goal, value, limit)] where another kernel has the library, and the base has none."""
    def both(what, key, figure):
        return (bench[what][which][key][figure] for which in ("series", PEER))

    relocation = bench["relocation"]["series"]
    ours, theirs = both("relocation", "64M", "insns_per_page")
    found = [("relocation instructions per page, of v6.1's", round(ours / theirs, 3), 0.66)]
    found += [("copy pages at 64 GiB", bench["copy"]["series"]["64G"]["pages"], 16)]
    ours, theirs = both("copy", "16G", "insns")
    found += [("instructions to build and check the copy at 16 GiB, of v6.1's",
               round(ours / theirs, 3), 0.35)]
    ours, theirs = both("load", "16G", "insns")
    found += [("load instructions at 16 GiB, of v6.1's", round(ours / theirs, 3), 0.999)]
    load = {which: {memory: figures["insns"] for memory, figures in bench["load"][which].items()}
            for which in ("base", "series")}
    found += [("load instructions at 1 GiB, of the base's",
               round(load["series"]["1G"] / load["base"]["1G"], 3), 1.02),
              ("load instructions at 64 GiB, of those at 1 GiB",
               round(load["series"]["64G"] / load["series"]["1G"], 3), 1.03)]
    found += [("instructions to build and check the copy of a load, at most",
               max(figures["insns"] for figures in bench["copy"]["series"].values()), 6_000_000)]
    found += [("bytes moved with the MMU off", max(relocation[key]["mmu_off_bytes"]
                                                   for key in relocation), 4096)]
    return found


def watched(figures):
    """{figure: value} of what must not get worse, of one machine."""
    found = {".".join(path): pick(figures, path) for path in WATCHED
             if isinstance(figures.get(path[0]), dict) == (len(path) > 1)}
    return {name: value for name, value in found.items() if value is not None}


def machine_name(what, memory, payload=None):
    """What a machine is called in expected.json: `kexec 16M 1G`."""
    return " ".join(filter(None, [what, payload and size(payload), size(memory)]))


def expected():
    """The committed figures of the series: {machine: {figure: value}}."""
    if not EXPECTED.is_file():
        raise LabError(f"there is no {EXPECTED}: 'make bench EXPECT=update' writes it")
    return json.loads(EXPECTED.read_text())


def worse(name, figures):
    """What is worse than committed, of one machine: a line for each figure."""
    before = expected().get(name)
    if before is None:
        raise LabError(f"{EXPECTED} has no {name}: 'make bench EXPECT=update' renews it")
    return [f"{name}: {figure} is {value:,} and was {before[figure]:,}"
            for figure, value in watched(figures).items()
            if figure in before and value > before[figure] * WORSE]
