// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU TCG plugin that sees a kernel relocate, whichever kernel it is, and counts.
 *
 * While one kernel hands over to the next, nothing may run but one page of code
 * that nothing overwrites, at a low address whether the MMU is on (VA == PA,
 * TTBR0) or off. So relocation is one burst of instructions: in one low page,
 * with no other code in between, that stores much. Each such burst becomes one
 * line of JSON in the output file:
 *
 *   page           where the code was, by 4 KiB granule
 *   insns          instructions executed
 *   mmu_off_insns  how many of them ran with the MMU off
 *   low, high      data accesses and their bytes, below and above 2^48. With the
 *                  MMU on, TTBR1 translates: addresses are high. With it off they
 *                  are physical: low.
 *
 * A load or store of a pair counts as two accesses; cache maintenance as none.
 *
 * On a machine of one CPU it also counts the instructions between two addresses, all
 * of them, callees and interrupts included. Each time STOP is reached after START:
 *
 *   span, insns    its name; instructions from START on, without the one at STOP
 *   calls          how often CALLEE was executed in it
 *
 * Arguments:
 *   out=FILE  takes the lines
 *   lo=, hi=  where the page can be: guest RAM. User space lies elsewhere, and is
 *             skipped for speed. (Default: anywhere below 2^48.)
 *   min=      bytes that a burst stores at least. (Default: 256 KiB, more than
 *             head.S stores to make the early page tables.)
 *   span=NAME:START:STOP[:CALLEE]
 *             addresses, in hexadecimal; as often as needed. STOP can be "entry": the
 *             first instruction after relocation, the next kernel's. A span that starts
 *             again before it stops starts anew.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MAX_SPANS	128
#define NOWHERE		(~(uint64_t)0)
#define PAGE_MASK	(~(uint64_t)0xfff)
#define LOW_END		((uint64_t)1 << 48)
/* v5.10's hibernate maps its code at PAGE_SIZE, up to 64 KiB; nobody else does. */
#define FIRST_PAGES	((uint64_t)0x20000)

/* msr sctlr_el1, <any register> */
#define MSR_SCTLR_EL1	0xd5181000u
#define MSR_RT_MASK	0x0000001fu
#define WFI		0xd503207fu

struct accesses {
	uint64_t loads, load_bytes, stores, store_bytes;
};

struct burst {
	uint64_t page;
	uint64_t elsewhere;		/* the counter's value, to see it change */
	uint64_t insns;
	uint64_t insns_after_msr;
	bool msr;
	struct accesses low, high;
};

/*
 * All vCPUs share it. While one relocates, the others are off, or run other code and so end
 * the burst. QEMU 10.0 also tells a wrong vCPU where several take turns on one thread.
 */
static struct burst burst;
static uint64_t lo, hi = LOW_END, min_bytes = 256 << 10;
static FILE *out;

#if QEMU_PLUGIN_VERSION < 2
/* Have a block or an instruction counted each time it is executed, without a call. */
static void add_block(struct qemu_plugin_tb *tb, uint64_t *counter)
{
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
}

static void add_insn(struct qemu_plugin_insn *insn, uint64_t *counter)
{
	qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, counter, 1);
}
#else
/*
 * By a call: without one, QEMU 10.0 breaks guests of several CPUs that share a thread of
 * the host. Conditions in the guest then come out wrong.
 */
static void add(unsigned int vcpu, void *counter)
{
	(void)vcpu;
	++*(uint64_t *)counter;
}

static void add_block(struct qemu_plugin_tb *tb, uint64_t *counter)
{
	qemu_plugin_register_vcpu_tb_exec_cb(tb, add, QEMU_PLUGIN_CB_NO_REGS, counter);
}

static void add_insn(struct qemu_plugin_insn *insn, uint64_t *counter)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, add, QEMU_PLUGIN_CB_NO_REGS, counter);
}
#endif

/* An instruction, as it is in memory. */
static uint32_t word_of(const struct qemu_plugin_insn *insn)
{
	uint32_t word = 0;

#if QEMU_PLUGIN_VERSION < 3
	memcpy(&word, qemu_plugin_insn_data(insn), sizeof(word));
#else
	qemu_plugin_insn_data(insn, &word, sizeof(word));
#endif
	return word;
}

/*
 * Translation blocks executed outside [lo, hi). All vCPUs share it and race for
 * it, and lose counts: only whether it moved is asked. Another vCPU that runs
 * during relocation does move it; then the burst is seen as several, rightly.
 */
static uint64_t elsewhere;

struct span {
	const char *name;
	uint64_t start, stop, callee;	/* or NOWHERE */
	bool entry;			/* stops at the next kernel's entry */
	bool open;
	uint64_t since, calls;
};

static struct span spans[MAX_SPANS];
static int nr_spans;
static uint64_t executed;		/* instructions, if there are spans */

static void start_span(unsigned int vcpu, void *data)
{
	struct span *span = data;

	(void)vcpu;
	span->open = true;
	span->since = executed;
	span->calls = 0;
}

static void count_call(unsigned int vcpu, void *data)
{
	(void)vcpu;
	((struct span *)data)->calls++;
}

static void stop_span(unsigned int vcpu, void *data)
{
	struct span *span = data;

	(void)vcpu;
	if (!span->open)
		return;
	span->open = false;
	fprintf(out, "{\"span\": \"%s\", \"insns\": %" PRIu64 ", \"calls\": %" PRIu64 "}\n",
		span->name, executed - span->since, span->calls);
	fflush(out);
}

/*
 * At an instruction, those before it are counted: QEMU 7.2 calls back before it adds, and
 * newer ones do both in the order of registration.
 */
static void count_spans(struct qemu_plugin_tb *tb)
{
	static void (*const reached[])(unsigned int, void *) = {
		start_span, stop_span, count_call,
	};
	size_t insns = qemu_plugin_tb_n_insns(tb), i, k;
	int s;

	for (i = 0; nr_spans && i < insns; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t pc = qemu_plugin_insn_vaddr(insn);

		for (s = 0; s < nr_spans; s++) {
			uint64_t at[] = { spans[s].start, spans[s].stop, spans[s].callee };

			for (k = 0; k < 3; k++) {
				if (pc != at[k])
					continue;
				qemu_plugin_register_vcpu_insn_exec_cb(insn, reached[k],
								       QEMU_PLUGIN_CB_NO_REGS,
								       &spans[s]);
			}
		}
		add_insn(insn, &executed);
	}
}

static void print_accesses(const char *name, const struct accesses *a)
{
	fprintf(out, ", \"%s\": {\"loads\": %" PRIu64 ", \"load_bytes\": %" PRIu64
		", \"stores\": %" PRIu64 ", \"store_bytes\": %" PRIu64 "}",
		name, a->loads, a->load_bytes, a->stores, a->store_bytes);
}

/* Report the burst if it was a relocation, and begin another one at the page. */
static void end_burst(uint64_t page)
{
	struct burst *b = &burst;
	uint64_t off;
	int s;

	flockfile(out);		/* Two vCPUs that end it at the same time report it once. */
	off = b->insns_after_msr;
	/* No msr: the MMU stayed as it was, and the addresses tell how that was. */
	if (!b->msr && b->low.stores)
		off = b->insns;

	if (b->low.store_bytes + b->high.store_bytes >= min_bytes) {
		fprintf(out, "{\"page\": \"0x%" PRIx64 "\", \"insns\": %" PRIu64
			", \"mmu_off_insns\": %" PRIu64, b->page, b->insns, off);
		print_accesses("low", &b->low);
		print_accesses("high", &b->high);
		fprintf(out, "}\n");
		fflush(out);

		/* Nothing ran in between: what begins now is what was relocated. */
		for (s = 0; s < nr_spans && elsewhere == b->elsewhere; s++) {
			if (spans[s].entry)
				stop_span(0, &spans[s]);
		}
	}
	*b = (struct burst){ .page = page, .elsewhere = elsewhere };
	funlockfile(out);
}

/*
 * What a block's callback has to know fits in its one pointer, so that nothing is
 * allocated: the page, in the 12 bits below it the number of instructions (at most
 * 512), and above its 48 bits one more than how many of them follow the msr.
 */
static void *pack(uint64_t page, uint64_t insns, uint64_t msr)
{
	return (void *)(uintptr_t)(msr << 48 | page | insns);
}

static void block_executed(unsigned int vcpu, void *packed)
{
	uint64_t info = (uintptr_t)packed;
	uint64_t page = info & (LOW_END - 1) & PAGE_MASK;
	uint64_t insns = info & ~PAGE_MASK;
	uint64_t msr = info >> 48;
	struct burst *b = &burst;

	(void)vcpu;
	if (page != b->page || elsewhere != b->elsewhere)
		end_burst(page);

	b->insns += insns;
	if (b->msr)
		b->insns_after_msr += insns;
	else if (msr)
		b->insns_after_msr = msr - 1;
	b->msr |= msr;
}

static void data_accessed(unsigned int vcpu, qemu_plugin_meminfo_t info,
			  uint64_t address, void *unused)
{
	struct burst *b = &burst;
	struct accesses *a = address < LOW_END ? &b->low : &b->high;
	uint64_t bytes = (uint64_t)1 << qemu_plugin_mem_size_shift(info);

	(void)vcpu;
	(void)unused;
	/*
	 * QEMU 7.2 leaves the callback of an instruction that took an exception
	 * in place for accesses that come later, anywhere, by its helpers.
	 */
	if (elsewhere != b->elsewhere)
		return;
	if (qemu_plugin_mem_is_store(info)) {
		a->stores++;
		a->store_bytes += bytes;
	} else {
		a->loads++;
		a->load_bytes += bytes;
	}
}

/*
 * A kernel that has resumed may never run low code again: report at the latest
 * when it first waits for an interrupt. QEMU calls back for an idle CPU only if
 * each has a thread of its own.
 */
static void wait_for_interrupt(unsigned int vcpu, void *unused)
{
	(void)vcpu;
	(void)unused;
	if (elsewhere != burst.elsewhere)
		end_burst(0);
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t pc = qemu_plugin_tb_vaddr(tb);
	size_t insns = qemu_plugin_tb_n_insns(tb), msr = 0, i;

	(void)id;
	count_spans(tb);
	if (pc >= FIRST_PAGES && (pc < lo || pc >= hi)) {
		add_block(tb, &elsewhere);
		for (i = 0; i < insns; i++) {
			struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

			if (word_of(insn) == WFI)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, wait_for_interrupt,
								       QEMU_PLUGIN_CB_NO_REGS,
								       NULL);
		}
		return;
	}

	for (i = 0; i < insns; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (!msr && (word_of(insn) & ~MSR_RT_MASK) == MSR_SCTLR_EL1)
			msr = insns - i;
		qemu_plugin_register_vcpu_mem_cb(insn, data_accessed,
						 QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
	}
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block_executed, QEMU_PLUGIN_CB_NO_REGS,
					     pack(pc & PAGE_MASK, insns, msr));
}

static void finish(qemu_plugin_id_t id, void *unused)
{
	(void)id;
	(void)unused;
	end_burst(0);
}

/* An address in hexadecimal, up to a colon or the end; *@text is moved behind it. */
static uint64_t parse_address(char **text)
{
	uint64_t address = strtoull(*text, text, 16);

	if (**text == ':')
		++*text;
	return address;
}

static int add_span(char *text)
{
	struct span *span = &spans[nr_spans];
	char *colon = strchr(text, ':');

	if (nr_spans == MAX_SPANS || !colon)
		return -1;
	*colon++ = 0;
	span->name = strdup(text);
	span->start = parse_address(&colon);
	span->stop = NOWHERE;
	span->callee = NOWHERE;
	span->entry = !strcmp(colon, "entry");
	if (span->entry)
		colon += strlen(colon);
	else
		span->stop = parse_address(&colon);
	if (*colon)
		span->callee = parse_address(&colon);
	nr_spans++;
	return *colon ? -1 : 0;
}

static int refuse(const char *why, const char *what)
{
	fprintf(stderr, "relocation plugin: %s: %s\n", why, what);
	return -1;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info,
					   int argc, char **argv)
{
	const char *path = NULL;
	int i;

	if (strcmp(info->target_name, "aarch64") || !info->system_emulation)
		return refuse("not an arm64 machine", info->target_name);

	for (i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value++)
			return refuse("not name=value", argv[i]);
		if (!strncmp(argv[i], "out=", 4)) {
			path = value;
		} else if (!strncmp(argv[i], "lo=", 3)) {
			lo = strtoull(value, NULL, 0);
		} else if (!strncmp(argv[i], "hi=", 3)) {
			hi = strtoull(value, NULL, 0);
		} else if (!strncmp(argv[i], "min=", 4)) {
			min_bytes = strtoull(value, NULL, 0);
		} else if (!strncmp(argv[i], "span=", 5) && info->system.max_vcpus == 1) {
			if (add_span(value))
				return refuse("not NAME:START:STOP[:CALLEE]", value);
		} else {
			return refuse("unknown argument", argv[i]);
		}
	}
	if (!path)
		return refuse("missing argument", "out=");
	if (hi > LOW_END)
		return refuse("above 2^48", "hi=");
	out = fopen(path, "a");
	if (!out)
		return refuse("cannot open", path);

	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
