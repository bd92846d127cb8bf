// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the transitional page tables
 *
 * Wrong tables show only when the machine does not come back, so test them
 * here. The tests copy the live linear map, and tables that are made here entry
 * by entry, without the kernel's helpers. To copy these, init_mm points to them
 * while the machine is stopped. The hardware never walks them, so they may map
 * memory that does not exist.
 */
#include <kunit/test.h>

#include <linux/cpufeature.h>
#include <linux/kernel.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/pgtable.h>
#include <linux/set_memory.h>
#include <linux/stop_machine.h>
#include <linux/string.h>

#include <asm/memory.h>
#include <asm/sysreg.h>
#include <asm/trans_pgd.h>

#include "trans_pgd_test.h"

/* The copy may take this many pages, however much memory there is */
#define MAX_PAGES		16

/* Free all pages that the library took. Return how many there were. */
static unsigned int give_back(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;

	t->info.trans_spare_page = NULL;
	t->calls = 0;
	t->fail_at = 0;
	return free_all(&t->taken);
}

static void expect_check(struct kunit *test, struct trans_pgd_walk *walk,
			 unsigned long addr, phys_addr_t phys,
			 enum trans_pgd_use use, const char *want)
{
	const char *why = trans_pgd_check(walk, addr, phys, use);

	KUNIT_EXPECT_STREQ(test, why ?: "(all is well)",
			   want ?: "(all is well)");
}

/* The live linear map */

static int copy_linear_map(struct kunit *test, void *arg)
{
	struct trans_pgd_test *t = test->priv;
	pgd_t **copy = arg;
	int ret;

	*copy = (pgd_t *)UNTOUCHED;
	ret = trans_pgd_create_copy(&t->info, copy, LINEAR_START, PAGE_END);
	if (ret)
		KUNIT_EXPECT_PTR_EQ(test, *copy, (pgd_t *)UNTOUCHED);
	return ret;
}

static void trans_pgd_copy_live_maps_memory(struct kunit *test)
{
	struct trans_pgd_walk walk;
	phys_addr_t start, end;
	const char *why = NULL;
	unsigned int nr;
	pgd_t *copy;
	u64 i;

	KUNIT_ASSERT_EQ(test, 0, copy_linear_map(test, &copy));
	walk = trans_pgd_walk_ttbr1(copy);
	for_each_mem_range(i, &start, &end) {
		start = PAGE_ALIGN(start);
		for (; start < (end & PAGE_MASK) && !why; start += PAGE_SIZE)
			why = trans_pgd_check(&walk, (u64)__va(start), start,
					      TRANS_PGD_WRITE);
	}
	KUNIT_EXPECT_STREQ(test, why ?: "(all is well)", "(all is well)");
	expect_check(test, &walk, PAGE_END, __pa_symbol(_text), TRANS_PGD_READ,
		     "not mapped");
	nr = give_back(test);
	kunit_info(test, "%u table pages\n", nr);
	KUNIT_EXPECT_LE(test, nr, MAX_PAGES);
}

static void trans_pgd_copy_live_no_memory(struct kunit *test)
{
	pgd_t *copy;

	expect_no_memory(test, copy_linear_map, &copy);
}

/* A page that the kernel hides for now is in the copy. */
static void trans_pgd_copy_live_hidden(struct kunit *test)
{
	void *hidden = new_page(test);
	struct trans_pgd_walk walk;
	pgd_t *copy;
	int ret;

	if (!can_set_direct_map())
		kunit_skip(test, "the linear map has blocks");

	set_direct_map_invalid_noflush(virt_to_page(hidden));
	ret = copy_linear_map(test, &copy);
	set_direct_map_default_noflush(virt_to_page(hidden));
	KUNIT_ASSERT_EQ(test, 0, ret);
	walk = trans_pgd_walk_ttbr1(copy);
	expect_check(test, &walk, (u64)hidden, virt_to_phys(hidden),
		     TRANS_PGD_WRITE, NULL);
}

/* Tables by hand */

/* A high physical address, so that its top bits are tested too. */
static phys_addr_t phys_of(unsigned long addr)
{
	unsigned int bits = min(CONFIG_ARM64_PA_BITS,
				lpa2_is_enabled() || PAGE_SIZE == SZ_64K ? 52 : 48);

	return BIT_ULL(bits - 1) | ((addr - LINEAR_START) & GENMASK_ULL(bits - 2, 0));
}

static void put(struct kunit *test, unsigned long addr, int level, u64 desc)
{
	struct trans_pgd_test *t = test->priv;

	*entry_at(test, t->live, vabits_actual, addr, level) = desc;
}

/* Make @nr entries in a row. */
static void put_run(struct kunit *test, unsigned long addr, int level,
		    unsigned int nr, pgprot_t prot)
{
	for (; nr--; addr += LEVEL_SIZE(level))
		put(test, addr, level, leaf(phys_of(addr), level, prot));
}

static u64 *start_over(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;

	give_back(test);
	free_all(&t->own);
	t->live = new_page(test);
	return t->live;
}

/**
 * struct copy_args - what to copy of the tables by hand
 * @t:     state of the test case
 * @parts: an address in each part, in this order; NULL for the whole range
 * @nr:    number of @parts
 * @copy:  set to the copy
 * @ret:   the return value of the library
 */
struct copy_args {
	struct trans_pgd_test *t;
	const unsigned long *parts;
	unsigned int nr;
	pgd_t *copy;
	int ret;
};

/* The machine is stopped, because other code uses the tables of init_mm too. */
static int copy_stopped(void *data)
{
	struct copy_args *args = data;
	struct trans_pgd_test *t = args->t;
	pgd_t *pgd = init_mm.pgd;
	void *live = t->live;
	unsigned int i;

#if defined(CONFIG_ARM64_VA_BITS_52) && !defined(CONFIG_ARM64_LPA2)
	/* As offset_ttbr1 does, because the helpers index for 52 bits */
	if (vabits_actual != 52)
		live -= TTBR1_BADDR_4852_OFFSET;
#endif
	WRITE_ONCE(init_mm.pgd, live);
	args->ret = trans_pgd_create_copy(&t->info, &args->copy, LINEAR_START,
					  args->parts ? LINEAR_START : PAGE_END);
	for (i = 0; i < args->nr && !args->ret; i++)
		args->ret = trans_pgd_copy_part(&t->info, args->copy,
						args->parts[i]);
	WRITE_ONCE(init_mm.pgd, pgd);
	return 0;
}

/* Copy the tables by hand. The copy has to take @pages pages. */
static struct trans_pgd_walk copy_live(struct kunit *test, unsigned int pages)
{
	struct trans_pgd_test *t = test->priv;
	struct copy_args args = { .t = t };

	add_spare(test, MAX_PAGES);
	KUNIT_ASSERT_EQ(test, 0, stop_machine(copy_stopped, &args, NULL));
	KUNIT_EXPECT_EQ(test, t->calls, pages);
	free_all(&t->spare);
	KUNIT_ASSERT_EQ(test, args.ret, 0);
	return trans_pgd_walk_ttbr1(args.copy);
}

/* Check that the copy maps all of a range as writable memory. */
static void expect_memory(struct kunit *test, struct trans_pgd_walk *walk,
			  unsigned long addr, u64 size)
{
	const char *why = NULL;
	unsigned long end = addr + size;

	for (; addr < end && !why; addr += PAGE_SIZE)
		why = trans_pgd_check(walk, addr, phys_of(addr),
				      TRANS_PGD_WRITE);
	KUNIT_EXPECT_STREQ(test, why ?: "(all is well)", "(all is well)");
}

/* Tables on the way to a page, and on the way to a block at level 2 */
#define ALL_TABLES	(4U - TOP_LEVEL(vabits_actual))
#define BLOCK_TABLES	(ALL_TABLES - 1)

/* The start of an entry at level 1, or at level 2 if there is no level 1 */
static unsigned long some_addr(void)
{
	return LINEAR_START + 2 * LEVEL_SIZE(TOP_LEVEL(vabits_actual) < 2 ? 1 : 2);
}

static void trans_pgd_copy_full_table(struct kunit *test)
{
	unsigned long addr = some_addr();
	struct trans_pgd_walk walk;

	start_over(test);
	put_run(test, addr, 3, ENTRIES, PAGE_KERNEL);
	walk = copy_live(test, BLOCK_TABLES);
	expect_memory(test, &walk, addr, LEVEL_SIZE(2));
	KUNIT_EXPECT_EQ(test, walk.size, LEVEL_SIZE(2));
	expect_check(test, &walk, addr + LEVEL_SIZE(2),
		     phys_of(addr + LEVEL_SIZE(2)), TRANS_PGD_READ,
		     "not mapped");

	/* Read-only, hidden and contiguous pages are in the block too */
	start_over(test);
	put_run(test, addr, 3, ENTRIES, PAGE_KERNEL);
	put_run(test, addr + PAGE_SIZE, 3, 1, PAGE_KERNEL_RO);
	put(test, addr + 2 * PAGE_SIZE, 3,
	    pte_val(pte_mkinvalid(__pte(leaf(phys_of(addr + 2 * PAGE_SIZE), 3,
					     PAGE_KERNEL)))));
	put_run(test, addr + 3 * PAGE_SIZE, 3, 1,
		__pgprot(_PAGE_KERNEL_RO & ~PTE_DIRTY));
	put_run(test, addr + CONT_PTE_SIZE, 3, CONT_PTES,
		__pgprot(_PAGE_KERNEL | PTE_CONT));
	walk = copy_live(test, BLOCK_TABLES);
	expect_memory(test, &walk, addr, LEVEL_SIZE(2));
	KUNIT_EXPECT_EQ(test, pte_val(walk.desc) & PTE_CONT, 0ULL);
}

/* One page differs from the others: the first, the last, or one between */
static void trans_pgd_copy_odd_page(struct kunit *test)
{
	const int odd[] = { 0, 1, ENTRIES / 2, ENTRIES - 1 };
	unsigned long addr = some_addr(), at;
	struct trans_pgd_walk walk;
	int i;

	for (i = 0; i < ARRAY_SIZE(odd); i++) {
		at = addr + odd[i] * PAGE_SIZE;

		/* The page is missing */
		start_over(test);
		put_run(test, addr, 3, ENTRIES, PAGE_KERNEL);
		put(test, at, 3, 0);
		walk = copy_live(test, ALL_TABLES);
		expect_memory(test, &walk, addr, at - addr);
		expect_check(test, &walk, at, phys_of(at), TRANS_PGD_READ,
			     "not mapped");
		expect_memory(test, &walk, at + PAGE_SIZE,
			      addr + LEVEL_SIZE(2) - at - PAGE_SIZE);

		/* Another attribute */
		put(test, at, 3, leaf(phys_of(at), 3,
				      __pgprot(PROT_NORMAL_NC)));
		give_back(test);
		walk = copy_live(test, ALL_TABLES);
		expect_check(test, &walk, at, phys_of(at), TRANS_PGD_READ,
			     "not Normal cacheable memory");

		/* Another page */
		put(test, at, 3, leaf(phys_of(at) ^ LEVEL_SIZE(2), 3,
				      PAGE_KERNEL));
		give_back(test);
		walk = copy_live(test, ALL_TABLES);
		expect_check(test, &walk, at, phys_of(at), TRANS_PGD_READ,
			     "mapped to another page");
	}
}

/* Contiguous, but not aligned to what a block maps */
static void trans_pgd_copy_misplaced(struct kunit *test)
{
	unsigned long addr = some_addr();
	struct trans_pgd_walk walk;
	int i;

	start_over(test);
	for (i = 0; i < ENTRIES; i++)
		put(test, addr + i * PAGE_SIZE, 3,
		    leaf(phys_of(addr) + (i + 1) * PAGE_SIZE, 3, PAGE_KERNEL));
	walk = copy_live(test, ALL_TABLES);
	expect_check(test, &walk, addr, phys_of(addr) + PAGE_SIZE,
		     TRANS_PGD_WRITE, NULL);
}

/* Parts: a part is what one entry maps at the first level with blocks */

#define PART_SIZE		LEVEL_SIZE(pud_sect_supported() ? 1 : 2)

static int copy_parts(struct kunit *test, void *arg)
{
	struct copy_args *args = arg;

	args->t = test->priv;
	add_spare(test, MAX_PAGES);
	KUNIT_ASSERT_EQ(test, 0, stop_machine(copy_stopped, args, NULL));
	free_all(&args->t->spare);
	return args->ret;
}

/* Map first and last page of three parts in a row. Return the second part. */
static unsigned long put_three_parts(struct kunit *test)
{
	unsigned long addr = some_addr();
	int i;

	start_over(test);
	for (i = -1; i <= 1; i++) {
		put_run(test, addr + i * PART_SIZE, 3, 1, PAGE_KERNEL);
		put_run(test, addr + (i + 1) * PART_SIZE - PAGE_SIZE, 3, 1,
			PAGE_KERNEL_RO);
	}
	return addr;
}

/* Check which of these three the copy has. Bit 0 of @parts is the first. */
static void expect_parts(struct kunit *test, pgd_t *copy, unsigned long parts)
{
	struct trans_pgd_walk walk = trans_pgd_walk_ttbr1(copy);
	unsigned long addr;
	int i;

	for (i = 0; i < 3; i++) {
		addr = some_addr() + (i - 1) * PART_SIZE;
		expect_check(test, &walk, addr, phys_of(addr), TRANS_PGD_WRITE,
			     parts & BIT(i) ? NULL : "not mapped");
		addr += PART_SIZE - PAGE_SIZE;
		expect_check(test, &walk, addr, phys_of(addr), TRANS_PGD_WRITE,
			     parts & BIT(i) ? NULL : "not mapped");
	}
}

/* Whichever page is asked for, its whole part is copied and nothing else. */
static void trans_pgd_copy_part_whole(struct kunit *test)
{
	unsigned long first = put_three_parts(test), pages[] = {
		first, first + PAGE_SIZE, first + PART_SIZE / 2,
		first + PART_SIZE - PAGE_SIZE,
	};
	struct trans_pgd_test *t = test->priv;
	unsigned int i, nr = 0;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		struct copy_args args = { .parts = &pages[i], .nr = 1 };

		KUNIT_ASSERT_EQ(test, 0, copy_parts(test, &args));
		expect_parts(test, args.copy, BIT(1));
		KUNIT_EXPECT_EQ(test, t->calls, nr ?: t->calls);
		nr = give_back(test);
	}
}

/* Parts are added to the copy. A part that it has takes no page again. */
static void trans_pgd_copy_part_more(struct kunit *test)
{
	unsigned long addr = put_three_parts(test), pages[] = {
		addr + PART_SIZE, addr - PAGE_SIZE, addr,
		addr + PART_SIZE - PAGE_SIZE, addr, addr - PART_SIZE,
	};
	struct copy_args args = { .parts = pages, .nr = 2 };
	struct trans_pgd_test *t = test->priv;
	unsigned int nr;

	KUNIT_ASSERT_EQ(test, 0, copy_parts(test, &args));
	expect_parts(test, args.copy, BIT(0) | BIT(2));
	give_back(test);

	args.nr = 3;
	KUNIT_ASSERT_EQ(test, 0, copy_parts(test, &args));
	expect_parts(test, args.copy, BIT(0) | BIT(1) | BIT(2));
	nr = give_back(test);

	args.nr = ARRAY_SIZE(pages);
	KUNIT_ASSERT_EQ(test, 0, copy_parts(test, &args));
	expect_parts(test, args.copy, BIT(0) | BIT(1) | BIT(2));
	KUNIT_EXPECT_EQ(test, t->calls, nr);
}

static void trans_pgd_copy_part_no_memory(struct kunit *test)
{
	unsigned long addr = put_three_parts(test), pages[] = {
		addr, addr + PART_SIZE,
	};
	struct copy_args args = { .parts = pages, .nr = ARRAY_SIZE(pages) };

	expect_no_memory(test, copy_parts, &args);
}

/* An address that the linear map does not have or map adds nothing. */
static void trans_pgd_copy_part_outside(struct kunit *test)
{
	unsigned long addr = put_three_parts(test), pages[] = {
		LINEAR_START - PAGE_SIZE, PAGE_END, 0, -PAGE_SIZE,
	};
	struct copy_args args = { .parts = pages, .nr = ARRAY_SIZE(pages) };
	struct trans_pgd_test *t = test->priv;

	/* Behind the linear map something else is mapped */
	put_run(test, PAGE_END, 3, 1, PAGE_KERNEL);
	KUNIT_ASSERT_EQ(test, 0, copy_parts(test, &args));
	expect_parts(test, args.copy, 0);
	KUNIT_EXPECT_EQ(test, t->calls, 1U);
	give_back(test);

	pages[0] = addr + 2 * PART_SIZE;
	args.nr = 1;
	KUNIT_ASSERT_EQ(test, 0, copy_parts(test, &args));
	expect_parts(test, args.copy, 0);
}

/* A table of blocks becomes a block too, if the level has blocks */
static void trans_pgd_copy_full_table_of_blocks(struct kunit *test)
{
	unsigned long addr = some_addr(), second = addr + LEVEL_SIZE(2);
	unsigned long last = addr + (ENTRIES - 1) * LEVEL_SIZE(2);
	struct trans_pgd_walk walk;

	if (!pud_sect_supported())
		kunit_skip(test, "blocks at level 1 are for 4K pages");

	start_over(test);
	put_run(test, addr, 2, ENTRIES - 1, PAGE_KERNEL);
	put_run(test, last, 3, ENTRIES, PAGE_KERNEL_RO);
	walk = copy_live(test, BLOCK_TABLES);
	expect_memory(test, &walk, addr, LEVEL_SIZE(1));
	KUNIT_EXPECT_EQ(test, walk.size, LEVEL_SIZE(1));

	/* The page of its table is used for the next table, and is empty */
	put_run(test, addr + LEVEL_SIZE(1), 2, 1, PAGE_KERNEL);
	give_back(test);
	walk = copy_live(test, BLOCK_TABLES);
	expect_memory(test, &walk, addr, LEVEL_SIZE(1) + LEVEL_SIZE(2));
	expect_check(test, &walk, addr + LEVEL_SIZE(1) + LEVEL_SIZE(2),
		     phys_of(addr + LEVEL_SIZE(1) + LEVEL_SIZE(2)),
		     TRANS_PGD_READ, "not mapped");

	/* The second block is missing */
	put(test, second, 2, 0);
	give_back(test);
	walk = copy_live(test, ALL_TABLES);
	expect_memory(test, &walk, addr, LEVEL_SIZE(2));
	expect_check(test, &walk, second, phys_of(second), TRANS_PGD_READ,
		     "not mapped");
	put_run(test, second, 2, 1, PAGE_KERNEL);

	/* The last page is missing */
	put(test, last, 3, 0);
	give_back(test);
	walk = copy_live(test, ALL_TABLES + 1);
	expect_memory(test, &walk, addr, last - addr);
	expect_check(test, &walk, last, phys_of(last), TRANS_PGD_READ,
		     "not mapped");
}

/* One page at its physical address */

static const u64 idmap_bits[] = { 30, 36, 39, 42, 47, 48, 50 };

static void idmap_to_desc(const u64 *bit, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "2^%llu", *bit);
}

KUNIT_ARRAY_PARAM(idmap, idmap_bits, idmap_to_desc);

/* The number of physical address bits of this CPU */
static unsigned int phys_bits(void)
{
	u64 mmfr0 = read_sanitised_ftr_reg(SYS_ID_AA64MMFR0_EL1);

	return id_aa64mmfr0_parange_to_phys_shift(mmfr0 & 0xf);
}

/* Let the MMU translate an address in TTBR0. Return PAR_EL1. */
static u64 translate(phys_addr_t ttbr0, unsigned long t0sz, u64 addr)
{
	unsigned long flags;
	u64 par;

	local_irq_save(flags);
	cpu_install_ttbr0(ttbr0, t0sz);
	asm volatile("at	s1e1r, %0" : : "r" (addr));
	isb();
	par = read_sysreg_par();
	cpu_uninstall_idmap();
	local_irq_restore(flags);

	return par;
}

/* The walk finds the tables at the address that phys_to_ttbr() encodes. */
static void trans_pgd_idmap_tables(struct kunit *test)
{
	phys_addr_t pgd = BIT_ULL(CONFIG_ARM64_PA_BITS - 1) | BIT_ULL(47) | SZ_1M;
	struct trans_pgd_walk walk = trans_pgd_walk_ttbr0(phys_to_ttbr(pgd), 16);

	KUNIT_EXPECT_EQ(test, walk.pgd, pgd);
	KUNIT_EXPECT_EQ(test, walk.va_bits, 48);
	KUNIT_EXPECT_FALSE(test, walk.ttbr1);
}

static void trans_pgd_idmap(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	phys_addr_t phys = BIT_ULL(*(u64 *)test->param_value) + 5 * PAGE_SIZE;
	void *page = phys_to_virt(phys);
	struct trans_pgd_walk walk;
	phys_addr_t ttbr0;
	unsigned long t0sz;
	u64 par;

	if (!__is_lm_address((u64)page) || virt_to_phys(page) != phys)
		kunit_skip(test, "not in the linear map");
	if (phys >> phys_bits())
		kunit_skip(test, "more than the CPU has");

	KUNIT_ASSERT_EQ(test, 0, trans_pgd_idmap_page(&t->info, &ttbr0, &t0sz,
						      page));
	walk = trans_pgd_walk_ttbr0(ttbr0, t0sz);
	expect_check(test, &walk, phys, phys, TRANS_PGD_EXEC, NULL);
	expect_check(test, &walk, phys + PAGE_SIZE, phys + PAGE_SIZE,
		     TRANS_PGD_READ, "not mapped");

	par = translate(ttbr0, t0sz, phys);
	KUNIT_EXPECT_EQ_MSG(test, par & SYS_PAR_EL1_F, 0ULL, "PAR_EL1 %016llx", par);
	KUNIT_EXPECT_EQ(test, par & GENMASK_ULL(51, PAGE_SHIFT), phys);
	par = translate(ttbr0, t0sz, phys ^ PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, par & SYS_PAR_EL1_F, 1ULL);
}

static int try_idmap(struct kunit *test, void *page)
{
	struct trans_pgd_test *t = test->priv;
	phys_addr_t ttbr0 = UNTOUCHED;
	unsigned long t0sz;
	int ret = trans_pgd_idmap_page(&t->info, &ttbr0, &t0sz, page);

	if (ret)
		KUNIT_EXPECT_EQ(test, ttbr0, (phys_addr_t)UNTOUCHED);
	return ret;
}

static void trans_pgd_idmap_no_memory(struct kunit *test)
{
	expect_no_memory(test, try_idmap, new_page(test));
}

/* The lookup */

static void trans_pgd_check_words(struct kunit *test)
{
	unsigned long addr = some_addr();
	phys_addr_t phys = phys_of(addr);
	struct trans_pgd_test *t = test->priv;
	const struct {
		u64 desc;
		enum trans_pgd_use use;
		const char *want;
	} cases[] = {
		{ leaf(phys, 3, PAGE_KERNEL), TRANS_PGD_READ, NULL },
		{ leaf(phys, 3, PAGE_KERNEL), TRANS_PGD_WRITE, NULL },
		{ leaf(phys, 3, PAGE_KERNEL), TRANS_PGD_EXEC, "not executable" },
		{ leaf(phys, 3, PAGE_KERNEL_RO), TRANS_PGD_READ, NULL },
		{ leaf(phys, 3, PAGE_KERNEL_RO), TRANS_PGD_WRITE, "read-only" },
		{ leaf(phys, 3, __pgprot(_PAGE_KERNEL | PTE_RDONLY)),
		  TRANS_PGD_WRITE, "read-only" },
		{ leaf(phys, 3, PAGE_KERNEL_ROX), TRANS_PGD_EXEC, NULL },
		{ leaf(phys, 3, PAGE_KERNEL_ROX), TRANS_PGD_READ, "executable" },
		{ leaf(phys, 3, PAGE_KERNEL) & ~PTE_AF, TRANS_PGD_READ,
		  "not accessible" },
		{ leaf(phys, 3, PAGE_KERNEL) | PTE_USER, TRANS_PGD_READ,
		  "not accessible" },
		{ leaf(phys, 3, PAGE_KERNEL) & ~PTE_UXN, TRANS_PGD_READ,
		  "not accessible" },
		{ leaf(phys, 3, PAGE_KERNEL) & ~PTE_VALID, TRANS_PGD_READ,
		  "not mapped" },
		{ leaf(phys, 2, PAGE_KERNEL), TRANS_PGD_READ,
		  "mapped by an entry that the level does not have" },
		{ leaf(phys + PAGE_SIZE, 3, PAGE_KERNEL), TRANS_PGD_READ,
		  "mapped to another page" },
	};
	struct trans_pgd_walk walk;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		start_over(test);
		put(test, addr, 3, cases[i].desc);
		walk = (struct trans_pgd_walk) {
			.pgd = virt_to_phys(t->live),
			.va_bits = vabits_actual,
			.ttbr1 = true,
		};
		expect_check(test, &walk, addr, phys, cases[i].use,
			     cases[i].want);
	}

	walk.size = 0;
	expect_check(test, &walk, LINEAR_START - PAGE_SIZE, phys,
		     TRANS_PGD_READ, "not in the range of the tables");
	expect_check(test, &walk, 0, phys, TRANS_PGD_READ,
		     "not in the range of the tables");
}

/* Restrictions of a table count, except with permission indirection. */
static void trans_pgd_check_tables(struct kunit *test)
{
	bool indirect = cpus_have_final_cap(ARM64_HAS_S1PIE);
	unsigned long addr = some_addr();
	phys_addr_t phys = phys_of(addr);
	struct trans_pgd_test *t = test->priv;
	struct trans_pgd_walk walk;
	u64 *entry;
	int level;

	for (level = TOP_LEVEL(vabits_actual); level < 3; level++) {
		start_over(test);
		put_run(test, addr, 3, 1, PAGE_KERNEL_EXEC);
		entry = entry_at(test, t->live, vabits_actual, addr, level);
		walk = (struct trans_pgd_walk) {
			.pgd = virt_to_phys(t->live),
			.va_bits = vabits_actual,
			.ttbr1 = true,
		};
		expect_check(test, &walk, addr, phys, TRANS_PGD_EXEC, NULL);

		*entry |= PMD_TABLE_UXN;
		walk.size = 0;
		expect_check(test, &walk, addr, phys, TRANS_PGD_EXEC, NULL);

		*entry |= PMD_TABLE_PXN;
		walk.size = 0;
		expect_check(test, &walk, addr, phys, TRANS_PGD_EXEC,
			     indirect ? NULL : "not executable");

		/* APTable[1] */
		*entry |= BIT_ULL(62);
		walk.size = 0;
		expect_check(test, &walk, addr, phys, TRANS_PGD_WRITE,
			     indirect ? "executable" : "read-only");
	}
}

static struct kunit_case trans_pgd_test_cases[] = {
	KUNIT_CASE(trans_pgd_copy_live_maps_memory),
	KUNIT_CASE(trans_pgd_copy_live_no_memory),
	KUNIT_CASE(trans_pgd_copy_live_hidden),
	KUNIT_CASE(trans_pgd_copy_full_table),
	KUNIT_CASE(trans_pgd_copy_odd_page),
	KUNIT_CASE(trans_pgd_copy_misplaced),
	KUNIT_CASE(trans_pgd_copy_full_table_of_blocks),
	KUNIT_CASE(trans_pgd_copy_part_whole),
	KUNIT_CASE(trans_pgd_copy_part_more),
	KUNIT_CASE(trans_pgd_copy_part_no_memory),
	KUNIT_CASE(trans_pgd_copy_part_outside),
	KUNIT_CASE_PARAM(trans_pgd_idmap, idmap_gen_params),
	KUNIT_CASE(trans_pgd_idmap_tables),
	KUNIT_CASE(trans_pgd_idmap_no_memory),
	KUNIT_CASE(trans_pgd_check_words),
	KUNIT_CASE(trans_pgd_check_tables),
	{}
};

static struct kunit_suite trans_pgd_test_suite = {
	.name = "trans_pgd",
	.init = trans_pgd_test_init,
	.exit = trans_pgd_test_exit,
	.test_cases = trans_pgd_test_cases,
};

kunit_test_suite(trans_pgd_test_suite);
