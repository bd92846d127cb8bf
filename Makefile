# SPDX-License-Identifier: GPL-2.0-only
# The lab's commands. Each installs or names what it needs and says what it does.
PYTHON ?= /usr/bin/python3
export LINUX LEVEL KERNEL JOBS

T ?=

help:
	@echo 'make run              kexec, hibernate and kdump on a kernel with the series'
	@echo '                      LEVEL=el1|nvhe|vhe: how it is booted; KERNEL=base: without'
	@echo 'make test             every test; T="WORDS" runs those whose names have all of them'
	@echo '                      JOBS=N: machines at a time, 2 if not said'
	@echo 'make matrix           the machines of lab/machines.cfg alone; T= as above'
	@echo 'make tree             build/linux: the base and the series as git commits'
	@echo 'make series           build/series/: the series as mails for git am'
	@echo 'make apply LINUX=DIR  the series on a new branch of your own tree'
	@echo 'make refresh          carry commits made in build/linux back to patches/ and arch/'
	@echo 'make kernel           build the kernels with and without the series'
	@echo 'make fetch            fetch base source, guest packages and QEMU header'
	@echo 'make host             install what the host needs'
	@echo 'make clean            remove build/'
	@echo 'LINUX=DIR with any but apply: that v5.10.y tree is the base; it is only read'

run tree series apply refresh kernel fetch: host

run:
	@$(PYTHON) -m lab.run

test: host
	@$(PYTHON) -m lab.test $(T)

matrix: host
	@$(PYTHON) -m lab.test matrix $(T)

tree series apply refresh:
	@$(PYTHON) -m lab.tree $@

kernel:
	@$(PYTHON) -m lab.build

fetch:
	@$(PYTHON) -m lab.fetch

host:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'error: $(PYTHON) is no Python 3.11 or newer; apt-get install -y python3,' \
		     'or say which with PYTHON=' >&2; exit 1; }
	@$(PYTHON) -m lab.host

clean:
	rm -rf build

.PHONY: help run test matrix tree series apply refresh kernel fetch host clean
