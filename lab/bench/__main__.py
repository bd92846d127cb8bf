# SPDX-License-Identifier: GPL-2.0-only
"""`make bench`: measure the kernels, write build/BASE/bench, and compare.

It fails when a figure of the series is worse than lab/bench/BASE/expected.json has it, or a
goal is missed. EXPECT=update renews that file, the chart, and the tables of the READMEs.
JOBS= is how many machines run at a time.
"""

import concurrent.futures
import datetime
import json
import re
import shutil

from lab import build, host, qemu, scenario, tree
from lab.base import V5_10, source_version
from lab.bench import figures, measure, report
from lab.here import BASE, HERE
from lab.options import option
from lab.util import LAB, TOP, LabError, main, need_space, output, say

FOLDER = HERE / "bench"
# The README has the figures of v5.10 alone.
READMES = {**({TOP / "README.md": report.short_table} if BASE is V5_10 else {}),
           LAB / "README.md": report.key_table}
CHART = figures.EXPECTED.with_name("summary.svg")
SAID = "" if BASE is V5_10 else f"BASE={BASE.name} "
MARKS = f"<!-- make bench {SAID}EXPECT=update -->\n", "<!-- end -->\n"


def head():
    """What was measured, and with what."""
    upstream, debian = qemu.installed()
    compiler = output([f"{host.cross_compile()}gcc", "--version"]).partition("\n")[0]
    names = {which: source_version(build.source(which)) for which in figures.KERNELS}
    return {"date": datetime.date.today().isoformat(), "qemu": debian or upstream,
            "compiler": re.sub(r"^\S+ \(.*\) ", "gcc ", compiler),
            "kernels": {"base": names["base"],
                        "series": f"{names['base']} with {len(tree.SERIES.patches())} patches",
                        figures.PEER: names[figures.PEER]}}


def measure_all():
    """Run every machine; return (points, resumes) as figures.assemble() takes them."""
    # The longest first.
    work = [("resume", which, memory, None) for memory in reversed(figures.RESUME_MEMORY)
            for which in figures.KERNELS]
    work += [("kexec", which, memory, payload) for payload, memory in reversed(figures.POINTS)
             for which in figures.KERNELS]
    points = {which: {} for which in figures.KERNELS}
    resumes = {which: {} for which in figures.KERNELS}
    pool = concurrent.futures.ThreadPoolExecutor(option("JOBS", 2))
    try:
        jobs = {pool.submit(getattr(measure, what), *filter(None, arguments)):
                (what, *arguments) for what, *arguments in work}
        for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            what, which, memory, payload = jobs[job]
            if what == "kexec":
                points[which][payload, memory] = job.result()
            else:
                resumes[which][memory] = job.result()
            say(f"{done} of {len(jobs)}: {which}, {figures.machine_name(what, memory, payload)}")
    finally:
        pool.shutdown(cancel_futures=True)
    return ({which: {point: points[which][point] for point in figures.POINTS}
             for which in figures.KERNELS},
            {which: {memory: resumes[which][memory] for memory in figures.RESUME_MEMORY}
             for which in figures.KERNELS})


def machines(points, resumes):
    """{machine: figures} of the series, as expected.json names them."""
    return ({figures.machine_name("kexec", memory, payload): found
             for (payload, memory), found in points["series"].items()}
            | {figures.machine_name("resume", memory): found
               for memory, found in resumes["series"].items()})


def renewed(path, block):
    """The text of a README with this block between its marks."""
    begin, end = MARKS
    before, _, rest = path.read_text().partition(begin)
    after = rest.partition(end)[2]
    if not after:
        raise LabError(f"{path} has lost its line {begin.strip()} or {end.strip()}")
    return f"{before}{begin}{block}{end}{after}"


def update(found, bench):
    """Renew what is committed."""
    figures.EXPECTED.parent.mkdir(exist_ok=True)
    figures.EXPECTED.write_text(json.dumps(
        {name: figures.watched(one) for name, one in found.items()}, indent=1) + "\n")
    shutil.copyfile(FOLDER / "summary.svg", CHART)
    for path, table in READMES.items():
        path.write_text(renewed(path, f"{report.versions(bench)}.\n\n{table(bench)}\n"))
    say("renewed " + ", ".join(str(path.relative_to(TOP))
                               for path in (figures.EXPECTED, CHART, *READMES)))


def command(_):
    """make bench"""
    scenario.prepare([(which, "small") for which in figures.KERNELS], payload=0)
    for which in figures.KERNELS:
        measure.vmlinux(which)
    measure.plugin()
    need_space(FOLDER, 4000)
    if figures.LARGEST not in figures.MEMORY:
        say(f"{figures.size(figures.LARGEST)} is left out: it needs {figures.NEEDED} MiB of memory "
            f"and this host has {figures.HOST}")
    say(f"measuring; console logs are in {measure.LOGS}")
    points, resumes = measure_all()
    bench = head() | figures.assemble(points, resumes)
    bench["points"] = {which: {figures.machine_name("kexec", memory, payload): found
                               for (payload, memory), found in points[which].items()}
                       for which in figures.KERNELS}
    (FOLDER / "bench.json").write_text(json.dumps(bench, indent=1) + "\n")
    report.charts(bench, FOLDER)
    (FOLDER / "bench.md").write_text(report.page(bench))
    print("\n".join(["", report.key_table(bench), "", *report.goal_lines(bench), ""]))
    found = machines(points, resumes)
    if option("EXPECT"):
        update(found, bench)
    worse = [line for name, one in found.items() for line in figures.worse(name, one)]
    missed = [goal["goal"] for goal in bench["goals"] if not goal["met"]]
    say(f"written: {FOLDER}/bench.json, bench.md and charts")
    if worse:
        raise LabError(f"worse than {figures.EXPECTED.relative_to(TOP)} by more than 2 %:\n  "
                       + "\n  ".join(worse))
    if missed:
        raise LabError(f"goals missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main(command)
