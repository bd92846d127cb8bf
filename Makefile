# SPDX-License-Identifier: GPL-2.0-only
# The lab's commands. Each installs or names what it needs and says what it does.
PYTHON ?= /usr/bin/python3
export BASE LINUX LEVEL KERNEL JOBS CLEAN AM EXPECT KEEP CONFIG WITHOUT DTBS

T ?=
M ?=

help:
	@echo 'make run              kexec, hibernate and kdump on a kernel with the series'
	@echo '                      LEVEL=el1|nvhe|vhe: how it is booted; KERNEL=base: without'
	@echo 'make test             every test; T="WORDS" runs those whose names have all of them'
	@echo '                      JOBS=N: machines at a time, one a CPU if not said'
	@echo '                      CLEAN=1: remove what was built for a base when its tests have passed'
	@echo 'make soak             the machines that take long or tell little; T= as above'
	@echo 'make check            checkpatch, sparse and their like on the series and the lab;'
	@echo '                      AM=all: git am on every v5.10.y that Debian has, too'
	@echo 'make bench            what hand-overs cost, against the base and v6.1: build/BASE/bench/'
	@echo '                      EXPECT=update: renew what it is compared with'
	@echo 'make mutants          bugs put into the series on purpose, and the tests that catch them;'
	@echo '                      M="WORDS" those whose names have all the words'
	@echo 'make bisect           each patch by itself: builds by gcc and clang, kexec, hibernation'
	@echo 'make matrix           the machines of lab/machines.cfg alone; T= as above'
	@echo 'make tree             build/BASE/linux: the base and the series as git commits'
	@echo 'make series           build/BASE/series/: the series as mails for git am'
	@echo 'make apply LINUX=DIR  the series on a new branch of your own tree, or all that conflicts;'
	@echo '                      KEEP=1: go on, and stop in git am where you have to resolve'
	@echo 'make board LINUX=DIR  an archive that tries the series on a real board; CONFIG=FILE: of its kernel'
	@echo 'make refresh          carry commits made in build/BASE/linux back to where they came from'
	@echo 'make kernel           build the kernels with and without the series'
	@echo 'make fetch            fetch base source, guest packages and QEMU header'
	@echo 'make host             install what the host needs'
	@echo 'make clean            remove build/'
	@echo 'BASE=v5.10|v6.12|v7.3  with any: the kernel that it is about; v5.10 if not said, but'
	@echo '                      test, matrix and soak do all of them, one after the other'
	@echo 'LINUX=DIR with any but apply: that tree is the base; it is only read'

run test matrix soak check bench mutants bisect tree series apply board refresh kernel fetch: host

run:
	@$(PYTHON) -m lab.run

test:
	@$(PYTHON) -m lab.test $(T)

check:
	@$(PYTHON) -m lab.check

bench:
	@$(PYTHON) -m lab.bench

mutants:
	@$(PYTHON) -m lab.mutants $(M)

bisect:
	@$(PYTHON) -m lab.bisect

matrix:
	@$(PYTHON) -m lab.test matrix $(T)

soak:
	@$(PYTHON) -m lab.test soak $(T)

tree series refresh:
	@$(PYTHON) -m lab.tree $@

apply:
	@$(PYTHON) -m lab.apply

board:
	@$(PYTHON) -m lab.onboard

kernel:
	@$(PYTHON) -m lab.build

fetch:
	@$(PYTHON) -m lab.sources && $(PYTHON) -m lab.debian && $(PYTHON) -m lab.qemu

host:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'error: $(PYTHON) is no Python 3.11 or newer; apt-get install -y python3,' \
		     'or say which with PYTHON=' >&2; exit 1; }
	@$(PYTHON) -m lab.host

clean:
	rm -rf build

.PHONY: help run test matrix soak check bench mutants bisect tree series apply board refresh kernel fetch host clean
