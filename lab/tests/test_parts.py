# SPDX-License-Identifier: GPL-2.0-only
"""How the matrix judges the parts of the linear map that a machine says it has copied."""

from lab import matrix


def test_parts():
    """The last copy on a console counts. It has to consist of parts of the linear map, each once,
    with room for what was written."""
    row = next(cell.row for cell in matrix.cells()
               if cell.row.config.endswith("64k52") and cell.row.va)
    first, behind = matrix.linear_map(row)
    size = 1 << 29
    good = [(first, first + size), (behind - size, behind)]
    line = "trans_pgd: {} of the linear map from {:#x} to {:#x}: 1 table pages, 0 blocks\n"
    console = line.format("copy", 0, behind) + line.format("more", *good[0])
    for how, ranges in (("copy", [(first, first)]), ("more", good)):
        console += "".join(line.format(how, *one) for one in ranges)
    assert matrix.copied(console) == good
    assert matrix.copied(line.format("copy", *good[0])) == good[:1]
    assert matrix.wrong_parts(row, good, 2 * size) is None
    for parts, least in (([], 0), (good, 2 * size + 1), (good + good[:1], 0),
                         ([(first - size, first)], 0), ([(behind, behind + size)], 0),
                         ([(first, first + size - 4096)], 0),
                         ([(first + 4096, first + 4096 + size)], 0), ([(first, behind)], 0)):
        assert matrix.wrong_parts(row, parts, least), (parts, least)
