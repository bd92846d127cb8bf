# SPDX-License-Identifier: GPL-2.0-only
"""What loading an image costs, in instructions: exact where wall clock under
emulation is not. Counted by lab/plugin/span.c between addresses of vmlinux."""

import json
import re

from lab import build, guest, host, scenario
from lab.machine import Machine
from lab.util import LabError, output

# As the relocation of virtual addresses would move vmlinux.
APPEND = "nokaslr"


def disassemble(vmlinux, function):
    """[(address, instruction)] of a function."""
    text = output([f"{host.cross_compile()}objdump", "-d", "--no-show-raw-insn",
                   f"--disassemble={function}", vmlinux])
    found = re.findall(r"^([0-9a-f]+):\t(.+)$", text, re.MULTILINE)
    if not found:
        raise LabError(f"{vmlinux} has no function {function}")
    return [(int(address, 16), code) for address, code in found]


def call(vmlinux, caller, pattern):
    """Address of the call in `caller` that matches, and of the instruction after it."""
    for address, code in disassemble(vmlinux, caller):
        if re.match(pattern, code):
            return address, address + 4
    raise LabError(f"{caller} in {vmlinux} has no call like {pattern}")


def spans(vmlinux):
    """{what is counted: (first address, address behind)} for kexec_file_load."""
    symbols = {name: int(address, 16) for address, _, name in
               (line.split() for line in output([f"{host.cross_compile()}nm", vmlinux])
                .splitlines()) if address}
    table_call = next(name for name in ("invoke_syscall", "do_el0_svc") if name in symbols)
    found = {
        "copy": call(vmlinux, "machine_kexec_post_load", r"bl\t.*<trans_pgd_create_copy>"),
        "load": (symbols["__arm64_sys_kexec_file_load"], call(vmlinux, table_call, r"blr\t")[1]),
    }
    if "check_reach" in symbols:
        found["check"] = call(vmlinux, "machine_kexec_post_load", r"bl\t.*<check_reach>")
    return found


def measure(which, memory, logs, payload=scenario.PAYLOAD):
    """Load an image once; return {span: instructions}.

    which: the kernel, see lab.build; memory: MiB.
    """
    out = build.kernel(which)
    logs.mkdir(parents=True, exist_ok=True)
    name = f"cost-{which}-{memory}"
    report = logs / f"{name}.spans.json"
    report.unlink(missing_ok=True)
    plugin = ",".join([str(build.plugin("span")), f"out={report}", *(
        f"span={what}:{start:#x}:{stop:#x}" for what, (start, stop)
        in spans(out / "vmlinux").items())])
    image = guest.disk(guest.GUEST / f"disk-{build.tag(which)}-small-{payload}.img", {
        "Image": out / "arch/arm64/boot/Image", "initramfs.cpio": guest.initramfs(),
        "payload.cpio": guest.payload_initramfs(payload)})
    machine = Machine(name, "el1", out / "arch/arm64/boot/Image", guest.initramfs(), logs,
                      append=APPEND, memory=memory, smp=1, images=[image])
    machine.argv += ["-plugin", plugin]
    with machine:
        machine.wait_ready(timeout=300)
        scenario.load(machine, "-s -l")
    counts = {}
    for line in report.read_text().splitlines():
        entry = json.loads(line)
        counts[entry["span"]] = entry["insns"]
    return counts
