# SPDX-License-Identifier: GPL-2.0-only
"""bench.json as charts and as a page of Markdown."""

import matplotlib

from lab.bench.figures import (FETCH, GIB, GROWING, KERNELS, LARGE, LATENCY, MEMORY_POINTS,
                               OVERLAP, PEER, RATE, size)
from lab.here import BASE

matplotlib.use("Agg")
# Text stays text, and the same figures give the same file.
matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "trans_pgd", "font.size": 9,
                        "axes.spines.top": False, "axes.spines.right": False}
from matplotlib import pyplot  # noqa: E402  (after the backend is chosen)

COLOURS = {"base": "#8a8a8a", "series": "#0b6e4f", "v6.1": "#c8553d"}
AGREED = f"within {BASE.noise} instructions" if BASE.noise else "to the instruction"
SHORT = ("relocation: instructions per page", "relocation: bytes moved with the MMU off",
         "copy: table pages, 64 GiB", "load: instructions, 64 GiB",
         "resume: instructions before it restores, 64 GiB")
MEMORY = [memory // GIB for _, memory in MEMORY_POINTS]


def number(value):
    """A figure for a table."""
    if value is None:
        return "none"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def table(head, rows):
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def save(figure, folder, name):
    """Both formats of a chart."""
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=120)
    pyplot.close(figure)


def against_memory(axes, bench, what, figure, title):
    """A line for each kernel, of a figure against memory, on scales of powers."""
    for which in KERNELS:
        if bench[what][which]:
            found = {gib: bench[what][which][f"{gib}G"][figure] for gib in MEMORY
                     if f"{gib}G" in bench[what][which]}
            axes.plot(list(found), list(found.values()), "o-", color=COLOURS[which], label=which)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(MEMORY, [f"{gib} GiB" for gib in MEMORY])
    axes.set_title(title)
    axes.legend(frameon=False)


def summary_chart(bench, folder):
    """The chart of the README: relocation, the size of the copy, the system call."""
    figure, axes = pyplot.subplots(1, 3, figsize=(10.5, 3.2))
    values = [bench["relocation"][which]["64M"]["insns_per_page"] for which in KERNELS]
    bars = axes[0].bar(KERNELS, values, color=[COLOURS[which] for which in KERNELS])
    moved = [bench["relocation"][which]["64M"]["mmu_off_bytes"] for which in KERNELS]
    axes[0].bar_label(bars, [f"{value:.0f}\nMMU {'off' if off else 'on'}"
                             for value, off in zip(values, moved)], fontsize=8)
    axes[0].margins(y=0.2)
    axes[0].set_title("Relocating a page: instructions")
    against_memory(axes[1], bench, "copy", "pages", "Pages of the copy of the linear map")
    against_memory(axes[2], bench, "load", "insns", "Loading 64 MiB: instructions")
    axes[2].set_yscale("linear")
    axes[2].set_ylim(bottom=0)
    save(figure, folder, "summary")


def cost_chart(bench, folder):
    """What the tables cost, at a load and at a resume."""
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2))
    against_memory(axes[0], bench, "copy", "insns", "kexec: build and check the copy")
    against_memory(axes[1], bench, "resume", "insns", "resume: build and check all tables")
    for one in axes:
        one.set_ylabel("instructions")
    save(figure, folder, "tables")


def load_chart(bench, folder):
    """The load system call by phase, at each size of memory."""
    figure, axes = pyplot.subplots(1, len(MEMORY), figsize=(11, 3.4))
    for one, gib in zip(axes, MEMORY):
        bottom = [0] * len(KERNELS)
        for phase in bench["load"]["series"][f"{gib}G"]["phases"]:
            values = [bench["load"][which][f"{gib}G"]["phases"].get(phase, 0) / 1e6
                      for which in KERNELS]
            one.bar(KERNELS, values, bottom=bottom, label=phase)
            bottom = [low + value for low, value in zip(bottom, values)]
        one.set_title(f"{gib} GiB")
    axes[0].set_ylabel("million instructions")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, folder, "load")


def model_chart(bench, folder):
    """The model beside what was published."""
    figure, axes = pyplot.subplots(figsize=(5.5, 3.2))
    cases = [(f"{case['machine']}\nMMU {half}", case[half])
             for case in bench["model"]["check"] for half in ("off", "on")]
    for shift, key, colour in ((-0.2, "published", "#444444"), (0.2, "model", "#7aa6c2")):
        axes.bar([i + shift for i in range(len(cases))], [case[key] for _, case in cases],
                 width=0.4, label=key, color=colour)
    axes.set_xticks(range(len(cases)), [name for name, _ in cases])
    axes.set_yscale("log")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    save(figure, folder, "model")


def charts(bench, folder):
    """All of them."""
    for chart in (summary_chart, cost_chart, load_chart):
        chart(bench, folder)
    if bench["model"]:
        model_chart(bench, folder)


def versions(bench):
    """One line that says what was measured, and when."""
    kernels = bench["kernels"]
    return (f"{bench['date']}; base: Linux {kernels['base']}, series: {kernels['series']}"
            + (f", {PEER}: Linux {kernels[PEER]}" if PEER != "base" else "") +
            f"; QEMU {bench['qemu']}, {bench['compiler']}; cortex-a57 at "
            "EL1, 4K pages, 48-bit VA, rodata=full, one CPU")


def key_rows(bench):
    """The rows of the tables of the READMEs, by their names."""
    def row(name, what, key, figure):
        return [name, *(number(bench[what][which][key][figure] if bench[what][which] else None)
                        for which in KERNELS)]

    rows = [row("relocation: instructions per page", "relocation", "64M", "insns_per_page"),
            row("relocation: bytes moved with the MMU off", "relocation", "64M", "mmu_off_bytes"),
            row("relocation: bytes moved with the MMU on", "relocation", "64M", "mmu_on_bytes"),
            row("relocation: instructions with the MMU off", "relocation", "64M",
                "mmu_off_insns")]
    most = [gib for gib in MEMORY if gib > 64]
    rows += [row(f"copy: table pages, {gib} GiB", "copy", f"{gib}G", "pages")
             for gib in (1, 64, *most)]
    rows += [row(f"copy: instructions to build and check, {gib} GiB", "copy", f"{gib}G", "insns")
             for gib in (1, 16, 64, *most)]
    rows += [row(f"load: instructions, {gib} GiB", "load", f"{gib}G", "insns")
             for gib in (1, 16, 64, *most)]
    rows += [row("unload: instructions, 16 GiB", "unload", "16G", "insns"),
             row("`machine_kexec` to the next kernel: instructions", "jump", "64M",
                 "from_machine_kexec_insns"),
             row("`Bye!` to the next kernel: instructions", "jump", "64M", "insns"),
             row("resume: pages for tables and code, 64 GiB", "resume", "64G", "pages"),
             row("resume: instructions before it restores, 64 GiB", "resume", "64G",
                 "insns")]
    rows += [[f"1 TiB, 1 GiB payload, predicted: {name}", *(
        number(bench["growth"][which][name]["predicted"] if bench["growth"][which][name] else None)
        for which in KERNELS)] for name in ("copy pages", "load instructions",
                                            "relocation instructions")]
    return {name: [name, *values] for name, *values in rows}


def key_table(bench):
    """The table of lab/README.md."""
    return table(["64 MiB payload", *KERNELS], key_rows(bench).values())


def short_table(bench):
    """The table of the README: the rows that SHORT names."""
    rows = key_rows(bench)
    return table(["64 MiB payload", *KERNELS], [rows[name] for name in SHORT])


def goal_lines(bench):
    """A line for each goal."""
    return [f"{'met   ' if goal['met'] else 'MISSED'} {goal['goal']}: {goal['value']} "
            f"(at most {goal['limit']})" for goal in bench["goals"]]


def phase_tables(bench, what):
    """A table for each size, of the phases of `what`."""
    for key in bench[what]["series"]:
        phases = dict.fromkeys(phase for which in KERNELS
                               for phase in bench[what][which][key]["phases"])
        yield table([f"{what}, {key}", *KERNELS],
                    [*([phase, *(number(bench[what][which][key]["phases"].get(phase))
                                 for which in KERNELS)] for phase in phases),
                     ["whole", *(number(bench[what][which][key]["insns"]) for which in KERNELS)]])


def figure_table(bench, what, figures):
    """A table of some figures at each size."""
    return table([what, *KERNELS], [
        [f"{key}: {figure}", *(number(bench[what][which][key][figure] if bench[what][which]
                                      else None) for which in KERNELS)]
        for key in bench[what]["series"] for figure in figures])


def growth_table(bench):
    """The fits, and what they predict."""
    rows = []
    for name in GROWING:
        for which in KERNELS:
            fit = bench["growth"][which][name]
            if fit:
                rows.append([f"{name}, {which}", *(number(fit[key]) for key in (
                    "fixed", "per_gib", "per_mib")), f"{fit['largest_error']:.2%}",
                    number(fit["predicted"])])
    payload, memory = map(size, LARGE)
    return table(["figure", "fixed", "per GiB of memory", "per MiB of payload", "largest error",
                  f"{memory} memory, {payload} payload"], rows)


def model_text(bench):
    """The model in words, and against what was published. It takes a base whose relocation has
    the MMU off and a peer whose has it on."""
    if not bench["model"]:
        return "No model: the base relocates with the MMU on, as the series does."
    rows = [[f"{case['machine']}, {case['mib']} MB, MMU {half}", case[half]["published"],
             case[half]["model"]] for case in bench["model"]["check"] for half in ("off", "on")]
    large = bench["model"]["large_relocation_seconds"]
    seconds = ", ".join(f"{which} {large[which]} s" for which in KERNELS)
    factor = bench["model"]["off_by_factor"]
    return f"""A model, not a measurement: emulation has no caches and no memory latency. Its
terms, the same for every machine: a trip to memory takes {LATENCY * 1e9:.0f} ns, a round
figure for servers of that time, measured on neither machine. With the MMU off nothing is
cached: a trip for each data access and for each {FETCH} instructions, one after the other, of the
base's counts. With it on: 64 cache lines read and 64 written for a page, {OVERLAP} misses at a
time, and {RATE / 1e9:.0f} instructions per ns, of v6.1's counts, whose code the figures are for.

{table(["seconds to relocate", "published", "model"], rows)}

The model is off by a factor of up to {factor}, either way: it tells orders of magnitude. In it
memory takes most of the time once the caches are on, and fewer instructions per page save little.
For a payload of {size(LARGE[0])}iB it has {seconds}.

![model](model.svg)"""


def sections(bench, what):
    """Tables of phases, one after the other."""
    return "\n\n".join(phase_tables(bench, what))


def page(bench):
    """bench.md."""
    goal_rows = "\n".join(f"    {line}" for line in goal_lines(bench))
    relocation = figure_table(bench, "relocation", ("pages", "insns", "insns_per_page",
                              "mmu_off_insns", "mmu_off_bytes", "mmu_on_bytes"))
    copy = figure_table(bench, "copy", ("pages", "build_insns", "check_insns", "insns"))
    jump = figure_table(bench, "jump", ("mmu_off_insns", "from_machine_kexec_insns",
                                        "from_kernel_kexec_insns"))
    return f"""# What hand-overs cost

{versions(bench)}.

{key_table(bench)}

![summary](summary.svg)

Everything is counted by a QEMU plugin, from outside and the same way for each kernel. Each load was
done in two machines, which agreed {AGREED}.
Figures of a resume depend on where the disk's interrupts fell before, and differ from run to run by
0.1 % or so. All kernels have the same small configuration.

Emulation shows what is executed, what is accessed, and whether the MMU was on. It does not show
time: it has no caches, no TLB misses and no memory latency.

## Goals

{goal_rows}

## Relocation

{relocation}

16M and 64M at 1 GiB of memory, 256M at 4 GiB.

## The copy of the linear map

Pages are calls of the page allocator while the copy is made; v5.10's base makes none in kexec.
Only the series checks; of other kernels all instructions are for building.

{copy}

## Resume

From `swsusp_arch_resume` to the code that restores the image, with all tables, pages that are
taken for them and for that code, and, with the series, the check of every page to restore.

{figure_table(bench, "resume", ("pages", "insns"))}

![tables](tables.svg)

## Loading

Payload 64 MiB, by memory. The files are in memory already. What a kernel's core code does (reading,
filling, freeing) is not the series', and differs between versions.

{sections(bench, "load")}

The same by payload.

{sections(bench, "load_by_payload")}

![load](load.svg)

{figure_table(bench, "unload", ("insns",))}

## From `Bye!` to the next kernel's first instruction

{sections(bench, "jump")}

{jump}

## Growth

Least squares through {len(bench["points"]["series"])} points of memory and payload for each kernel,
and what it predicts. The largest error is at any of these points, in parts of the count there.
What is not linear is left out: an image whose pages happen to be where images go takes the core of
kexec, on every kernel, time that is quadratic in its size to load.

{growth_table(bench)}

## Time on hardware

{model_text(bench)}
"""
