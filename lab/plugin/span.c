// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU TCG plugin that counts the instructions between two addresses.
 *
 * Each time STOP is reached after START, one line of JSON goes to the output
 * file: {"span": NAME, "insns": N}. Everything that the CPU executes in between
 * counts, callees and interrupts included. The count is by translation block: it
 * can be off by a block at either end. For machines of one CPU.
 *
 * Arguments:
 *   out=FILE              takes the lines
 *   span=NAME:START:STOP  addresses, with 0x; as often as needed. A span that
 *                         starts again before it stops starts anew.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MAX_SPANS 64

struct span {
	const char *name;
	uint64_t start, stop;
	uint64_t since;		/* the counter's value at START, or 0 */
};

static struct span spans[MAX_SPANS];
static int nr_spans;
static uint64_t executed = 1;
static FILE *out;

static void started(unsigned int vcpu, void *span)
{
	(void)vcpu;
	((struct span *)span)->since = executed;
}

static void stopped(unsigned int vcpu, void *data)
{
	struct span *span = data;

	(void)vcpu;
	if (!span->since)
		return;
	fprintf(out, "{\"span\": \"%s\", \"insns\": %" PRIu64 "}\n", span->name,
		executed - span->since);
	fflush(out);
	span->since = 0;
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t insns = qemu_plugin_tb_n_insns(tb), i;
	uint64_t pc;
	int s;

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, insns);
	for (i = 0; i < insns; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		pc = qemu_plugin_insn_vaddr(insn);
		for (s = 0; s < nr_spans; s++) {
			if (pc == spans[s].start)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, started,
								       QEMU_PLUGIN_CB_NO_REGS,
								       &spans[s]);
			if (pc == spans[s].stop)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, stopped,
								       QEMU_PLUGIN_CB_NO_REGS,
								       &spans[s]);
		}
	}
}

static int refuse(const char *why, const char *what)
{
	fprintf(stderr, "span plugin: %s: %s\n", why, what);
	return -1;
}

static int add_span(char *text)
{
	struct span *span = &spans[nr_spans];
	char *end = strchr(text, ':');

	if (nr_spans == MAX_SPANS || !end)
		return -1;
	*end++ = 0;
	span->name = strdup(text);
	span->start = strtoull(end, &end, 16);
	if (*end++ != ':')
		return -1;
	span->stop = strtoull(end, &end, 16);
	nr_spans++;
	return *end ? -1 : 0;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
					   int argc, char **argv)
{
	int i;

	if (!info->system_emulation || info->system.max_vcpus > 1)
		return refuse("not a machine of one CPU", info->target_name);
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4)) {
			out = fopen(argv[i] + 4, "a");
			if (!out)
				return refuse("cannot open", argv[i] + 4);
		} else if (strncmp(argv[i], "span=", 5) || add_span(argv[i] + 5)) {
			return refuse("not out=FILE or span=NAME:START:STOP", argv[i]);
		}
	}
	if (!out || !nr_spans)
		return refuse("missing argument", "out= and span=");
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	return 0;
}
