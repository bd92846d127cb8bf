// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the transitional page tables
 *
 * The tests make the expected tables a second time, entry by entry, by index
 * and shift, without the kernel's page table helpers. They compare the two
 * whole. So they find an entry too many as well as a missing one.
 */
#include <kunit/test.h>

#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/pgtable.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/stop_machine.h>
#include <linux/string.h>

#include <asm/cputype.h>
#include <asm/memory.h>
#include <asm/sysreg.h>
#include <asm/trans_pgd.h>

#include "trans_pgd_test.h"

extern const char trans_pgd_el2_vectors[SZ_2K];

/* Level 2 has blocks, and with 4K pages level 1 too */
#define FIRST_BLOCK_LEVEL	(PAGE_SHIFT == 12 ? 1 : 2)
#define KERNEL_TOP_LEVEL	(4 - CONFIG_PGTABLE_LEVELS)
#define PART_SIZE		LEVEL_SIZE(FIRST_BLOCK_LEVEL)
/* Where a whole table of blocks of level 2 is in the copy */
#define MERGED_LEVEL		(FIRST_BLOCK_LEVEL < 2 && KERNEL_TOP_LEVEL < 2 ? 1 : 2)
/* More pages than any copy here takes */
#define NR_SPARE		24
/* What a table of the last level maps, and half of it */
#define SIZE2			LEVEL_SIZE(2)
#define HALF			(LEVEL_SIZE(2) / 2)

/* Check that no page was lost and that the library has counted right. */
static unsigned int give_back(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	struct page *page;
	unsigned int nr;

	list_for_each_entry(page, &t->taken, lru)
		KUNIT_EXPECT_EQ(test, page_count(page), 1);
	nr = free_all(&t->taken);
	KUNIT_EXPECT_EQ(test, nr, t->info.trans_nr_pages);
	t->info.trans_nr_pages = 0;
	t->info.trans_nr_blocks = 0;
	t->calls = 0;
	t->fail_at = 0;
	return nr;
}

/* Tables by hand */

static void put(struct kunit *test, u64 *top, unsigned long addr, int level,
		u64 desc)
{
	*entry_at(test, top, VA_BITS, addr, level) = desc;
}

/* A high physical address, so that its top bits are tested too. */
static phys_addr_t phys_of(unsigned long addr)
{
	return BIT_ULL(CONFIG_ARM64_PA_BITS - 1) |
	       ((addr - LINEAR_START) & GENMASK_ULL(CONFIG_ARM64_PA_BITS - 2, 0));
}

/* Make @nr entries in a row, for phys_of() of their addresses plus @offset. */
static void put_run(struct kunit *test, u64 *top, unsigned long addr, int level,
		    unsigned int nr, pgprot_t prot, phys_addr_t offset)
{
	for (; nr--; addr += LEVEL_SIZE(level))
		put(test, top, addr, level,
		    leaf(phys_of(addr) + offset, level, prot));
}

/* Compare tables whole. Return the number of tables, or 0 if they differ. */
static unsigned int compare(struct kunit *test, const u64 *have,
			    const u64 *want, int level)
{
	unsigned int i, below, nr = 1;

	for (i = 0; i < ENTRIES; i++) {
		if (is_table(have[i], level) && is_table(want[i], level)) {
			/* Only the address, and no restrictions */
			if ((have[i] & ~PTE_ADDR_MASK) != PTE_TYPE_MASK) {
				kunit_err(test, "level %d, entry %u: %016llx\n",
					  level, i, have[i]);
				return 0;
			}
			below = compare(test, table_of(have[i]),
					table_of(want[i]), level + 1);
			if (!below)
				return 0;
			nr += below;
		} else if (have[i] != want[i]) {
			kunit_err(test, "level %d, entry %u: %016llx and not %016llx\n",
				  level, i, have[i], want[i]);
			return 0;
		}
	}

	return nr;
}

/* Count the entries above the last level that map memory. */
static unsigned int count_blocks(const u64 *table, int level)
{
	unsigned int i, nr = 0;

	for (i = 0; level < 3 && i < ENTRIES; i++) {
		if (is_table(table[i], level))
			nr += count_blocks(table_of(table[i]), level + 1);
		else if (table[i])
			nr++;
	}

	return nr;
}

/* Check that the tables are @want and that the library has counted right. */
static void expect_named_tables(struct kunit *test, const u64 *have,
				const u64 *want, unsigned int va_bits,
				const char *name)
{
	struct trans_pgd_test *t = test->priv;
	unsigned int nr = compare(test, have, want, TOP_LEVEL(va_bits));

	KUNIT_ASSERT_GT_MSG(test, nr, 0U, "%s", name);
	KUNIT_EXPECT_EQ_MSG(test, nr, t->info.trans_nr_pages, "%s", name);
	KUNIT_EXPECT_EQ_MSG(test, count_blocks(have, TOP_LEVEL(va_bits)),
			    t->info.trans_nr_blocks, "%s", name);
}

static void expect_tables(struct kunit *test, const u64 *have, const u64 *want,
			  unsigned int va_bits)
{
	expect_named_tables(test, have, want, va_bits, test->name);
}

static void expect_check(struct kunit *test, struct trans_pgd_walk *walk,
			 unsigned long addr, phys_addr_t phys,
			 enum trans_pgd_use use, const char *want)
{
	const char *why = trans_pgd_check(walk, addr, phys, use);

	KUNIT_EXPECT_STREQ(test, why ?: "(all is well)",
			   want ?: "(all is well)");
}

/* One page */

static pgd_t *taken_page(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	void *page = test_alloc_page(t);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	t->info.trans_nr_pages++;
	return page;
}

static void map_one_page(struct kunit *test, unsigned long addr, pgprot_t prot)
{
	struct trans_pgd_test *t = test->priv;
	void *page = new_page(test);
	u64 *want = new_page(test);
	pgd_t *pgd = taken_page(test);

	KUNIT_ASSERT_EQ(test, 0, trans_pgd_map_page(&t->info, pgd, page, addr,
						    prot));
	KUNIT_EXPECT_EQ(test, t->info.trans_nr_pages,
			(unsigned int)CONFIG_PGTABLE_LEVELS);
	put(test, want, addr, 3, leaf(virt_to_phys(page), 3, prot));
	expect_tables(test, (u64 *)pgd, want, VA_BITS);
	give_back(test);
}

static void trans_pgd_map_page_low(struct kunit *test)
{
	map_one_page(test, 0, PAGE_KERNEL_ROX);
	map_one_page(test, PAGE_SIZE, PAGE_KERNEL_ROX);
	map_one_page(test, PAGE_SIZE, PAGE_KERNEL);
}

static void trans_pgd_map_page_high(struct kunit *test)
{
	unsigned long addr = BIT_ULL(vabits_actual - 1);
	int level;

	map_one_page(test, addr, PAGE_KERNEL_ROX);
	map_one_page(test, addr - PAGE_SIZE, PAGE_KERNEL_EXEC);
	/* At each level in turn, an index that is not 0 */
	for (level = 3; level > KERNEL_TOP_LEVEL; level--)
		map_one_page(test, addr + LEVEL_SIZE(level), PAGE_KERNEL_RO);
}

static void trans_pgd_map_page_top_of_range(struct kunit *test)
{
	map_one_page(test, BIT_ULL(vabits_actual) - PAGE_SIZE, PAGE_KERNEL_ROX);
	map_one_page(test, BIT_ULL(vabits_actual) - 2 * PAGE_SIZE, PAGE_KERNEL);
}

static void trans_pgd_map_page_out_of_range(struct kunit *test)
{
	const unsigned long addrs[] = {
		BIT_ULL(vabits_actual),
		BIT_ULL(vabits_actual) + PAGE_SIZE,
		BIT_ULL(vabits_actual + 1) - PAGE_SIZE,
		BIT_ULL(vabits_actual + 1),
		BIT_ULL(52),
		BIT_ULL(63),
		LINEAR_START,
		-PAGE_SIZE,
	};
	struct trans_pgd_test *t = test->priv;
	void *page = new_page(test);
	u64 *want = new_page(test);
	pgd_t *pgd = taken_page(test);
	int i;

	for (i = 0; i < ARRAY_SIZE(addrs); i++)
		KUNIT_EXPECT_EQ(test, -ERANGE,
				trans_pgd_map_page(&t->info, pgd, page,
						   addrs[i], PAGE_KERNEL_ROX));
	expect_tables(test, (u64 *)pgd, want, VA_BITS);
	give_back(test);
}

static int try_map_page(struct kunit *test, void *page)
{
	struct trans_pgd_test *t = test->priv;

	return trans_pgd_map_page(&t->info, new_page(test), page, PAGE_SIZE,
				  PAGE_KERNEL_ROX);
}

static void trans_pgd_map_page_no_memory(struct kunit *test)
{
	expect_no_memory(test, try_map_page, new_page(test));
}

/* The page of code at its physical address */

static void map_identity(struct kunit *test, void *page)
{
	phys_addr_t phys = virt_to_phys(page), ttbr0 = UNTOUCHED;
	unsigned int bits = max_t(unsigned int, fls64(phys), vabits_actual);
	struct trans_pgd_test *t = test->priv;
	unsigned long t0sz = UNTOUCHED;
	u64 *want = new_page(test);
	struct trans_pgd_walk walk;

	KUNIT_ASSERT_EQ(test, 0, trans_pgd_idmap_page(&t->info, &ttbr0, &t0sz,
						      page));
	KUNIT_EXPECT_EQ(test, t0sz, 64UL - bits);
	/* One table for each level that the MMU walks with this T0SZ */
	KUNIT_EXPECT_EQ(test, t->info.trans_nr_pages,
			(unsigned int)ARM64_HW_PGTABLE_LEVELS(bits));
	*entry_at(test, want, bits, phys, 3) = leaf(phys, 3, PAGE_KERNEL_ROX);
	expect_tables(test, phys_to_virt(ttbr0), want, bits);

	walk = trans_pgd_walk_ttbr0(ttbr0, t0sz);
	expect_check(test, &walk, phys, phys, TRANS_PGD_EXEC, NULL);
	expect_check(test, &walk, phys, phys, TRANS_PGD_READ, "executable");
	expect_check(test, &walk, phys, phys, TRANS_PGD_WRITE, "read-only");
	expect_check(test, &walk, phys ^ PAGE_SIZE, phys ^ PAGE_SIZE,
		     TRANS_PGD_READ, "not mapped");
	give_back(test);
}

static void trans_pgd_idmap_one(struct kunit *test)
{
	map_identity(test, new_page(test));
	map_identity(test, lm_alias(trans_pgd_el2_vectors -
				    offset_in_page(trans_pgd_el2_vectors)));
}

/* The largest number of VA bits that TTBR0 translates on this CPU */
static unsigned int cpu_va_bits(void)
{
	if (IS_ENABLED(CONFIG_ARM64_64K_PAGES) &&
	    (read_cpuid(ID_AA64MMFR2_EL1) >> ID_AA64MMFR2_LVA_SHIFT & 0xf))
		return 52;
	return 48;
}

/*
 * Make a pointer that virt_to_phys() turns into any given physical address. The
 * offset of the kernel's image works for all of them. The offset of the linear
 * map works only for half the VA range. This is arithmetic, and nothing is
 * accessed. Returns NULL if virt_to_phys() checks its argument.
 */
static void *page_at(phys_addr_t phys)
{
	void *page = (void *)__phys_to_kimg(phys);

	if (IS_ENABLED(CONFIG_DEBUG_VIRTUAL) || virt_to_phys(page) != phys)
		return NULL;
	return page;
}

static void refuse_identity(struct kunit *test, void *page)
{
	struct trans_pgd_test *t = test->priv;
	phys_addr_t ttbr0 = UNTOUCHED;
	unsigned long t0sz = UNTOUCHED;

	KUNIT_EXPECT_EQ(test, -EADDRNOTAVAIL,
			trans_pgd_idmap_page(&t->info, &ttbr0, &t0sz, page));
	KUNIT_EXPECT_EQ(test, ttbr0, (phys_addr_t)UNTOUCHED);
	KUNIT_EXPECT_EQ(test, t0sz, UNTOUCHED);
	KUNIT_EXPECT_EQ(test, t->calls, 0U);
	give_back(test);
}

/* Whether the MMU reaches such an address with at most one level more */
static bool reaches(unsigned int bits)
{
	return bits <= cpu_va_bits() &&
	       ARM64_HW_PGTABLE_LEVELS(bits) <= CONFIG_PGTABLE_LEVELS + 1;
}

static void trans_pgd_idmap_high(struct kunit *test)
{
	unsigned int bits, i, nr = 0;

	for (bits = 32; bits <= CONFIG_ARM64_PA_BITS; bits++) {
		const phys_addr_t addrs[] = {
			BIT_ULL(bits - 1),
			BIT_ULL(bits - 1) + 5 * PAGE_SIZE,
			BIT_ULL(bits) - PAGE_SIZE,
		};

		for (i = 0; i < ARRAY_SIZE(addrs); i++) {
			void *page = page_at(addrs[i]);

			if (!page || !reaches(max_t(unsigned int, bits,
						    vabits_actual)))
				continue;
			map_identity(test, page);
			nr++;
		}
	}
	kunit_info(test, "%u addresses%s\n", nr,
		   nr ? "" : ": virt_to_phys() is checked");
}

static void trans_pgd_idmap_out_of_reach(struct kunit *test)
{
	unsigned int bits, nr = 0;

	for (bits = 40; bits <= 64; bits++) {
		void *page = page_at(BIT_ULL(bits - 1));

		if (!page || reaches(max_t(unsigned int, bits, vabits_actual)))
			continue;
		refuse_identity(test, page);
		nr++;
	}
	kunit_info(test, "%u addresses%s\n", nr,
		   nr ? "" : ": virt_to_phys() is checked");
}

static int try_map_identity(struct kunit *test, void *page)
{
	struct trans_pgd_test *t = test->priv;
	phys_addr_t ttbr0 = UNTOUCHED;
	unsigned long t0sz = UNTOUCHED;
	int ret = trans_pgd_idmap_page(&t->info, &ttbr0, &t0sz, page);

	if (ret) {
		KUNIT_EXPECT_EQ(test, ttbr0, (phys_addr_t)UNTOUCHED);
		KUNIT_EXPECT_EQ(test, t0sz, UNTOUCHED);
	}
	return ret;
}

static void trans_pgd_idmap_no_memory(struct kunit *test)
{
	void *page;

	expect_no_memory(test, try_map_identity, new_page(test));

	/* With one level more than the kernel has, unless it has all levels */
	page = page_at(BIT_ULL(min(CONFIG_ARM64_PA_BITS, 47) - 1));
	if (page)
		expect_no_memory(test, try_map_identity, page);
}

/* The copy of the linear map as it is */

/* The number of bytes of memory that the linear map should map in a range. */
static u64 memory_in(s64 from, u64 size)
{
	phys_addr_t start, end;
	u64 i, bytes = 0;

	/* Signed, because with KASLR the linear map may begin below 0 */
	for_each_mem_range(i, &start, &end) {
		s64 low = max_t(s64, from, round_down(start, PAGE_SIZE));
		s64 high = min_t(s64, from + size, round_up(end, PAGE_SIZE));

		if (low < high)
			bytes += high - low;
	}

	return bytes;
}

static int copy_live(struct kunit *test, pgd_t **pgd)
{
	struct trans_pgd_test *t = test->priv;

	return trans_pgd_create_copy(&t->info, pgd, LINEAR_START, PAGE_END);
}

/* Return what is wrong with a leaf of the copy, or NULL. */
static const char *wrong_leaf(struct trans_pgd_walk *walk, unsigned long addr,
			      int level, u64 desc)
{
	phys_addr_t phys = __pte_to_phys(__pte(desc));
	unsigned long last = LEVEL_SIZE(level) - PAGE_SIZE;
	const char *why;

	if ((desc & PTE_TYPE_MASK) != (level == 3 ? PTE_TYPE_MASK : PTE_VALID))
		return "not valid";
	if (level < FIRST_BLOCK_LEVEL)
		return "at a level without blocks";
	if (addr < LINEAR_START || addr >= PAGE_END)
		return "not in the linear map";
	if (phys_to_virt(phys) != (void *)addr)
		return "not at its linear map address";
	if (memory_in(phys, LEVEL_SIZE(level)) != LEVEL_SIZE(level))
		return "not all memory";
	if (desc & (PTE_RDONLY | PTE_USER | PTE_CONT))
		return "read-only, for user space or contiguous";
	if (!(desc & PTE_WRITE) || !(desc & PTE_AF) || !(desc & PTE_PXN) ||
	    !(desc & PTE_UXN))
		return "not writable, accessible or without execute-never";

	why = trans_pgd_check(walk, addr, phys, TRANS_PGD_WRITE);
	if (!why)
		why = trans_pgd_check(walk, addr + last, phys + last,
				      TRANS_PGD_READ);
	return why;
}

/* Check all entries of a table of the copy. Return the bytes mapped. */
static u64 look_at_copy(struct kunit *test, struct trans_pgd_walk *walk,
			const u64 *table, unsigned long addr, int level)
{
	const char *why;
	u64 bytes = 0;
	unsigned int i;

	for (i = 0; i < ENTRIES; i++, addr += LEVEL_SIZE(level)) {
		if (!table[i])
			continue;
		if (is_table(table[i], level)) {
			bytes += look_at_copy(test, walk, table_of(table[i]),
					      addr, level + 1);
			continue;
		}
		bytes += LEVEL_SIZE(level);
		why = wrong_leaf(walk, addr, level, table[i]);
		if (why) {
			KUNIT_FAIL(test, "%lx, level %d, %016llx: %s", addr,
				   level, table[i], why);
			return bytes;
		}
	}

	return bytes;
}

/*
 * Each leaf maps only memory, at the address of that memory. No two leaves map
 * the same memory. So if the number of bytes is right, all memory is mapped and
 * nothing else is.
 */
static void trans_pgd_copy_live_maps_memory(struct kunit *test)
{
	struct trans_pgd_walk walk;
	u64 memory, bytes;
	pgd_t *pgd = NULL;

	KUNIT_ASSERT_EQ(test, 0, copy_live(test, &pgd));
	walk = trans_pgd_walk_ttbr1(virt_to_phys(pgd));
	bytes = look_at_copy(test, &walk, (u64 *)pgd, PAGE_OFFSET,
			     KERNEL_TOP_LEVEL);
	memory = memory_in(0, BIT_ULL(52));
	KUNIT_EXPECT_EQ(test, bytes, memory);
	KUNIT_EXPECT_GE(test, bytes, (u64)totalram_pages() << PAGE_SHIFT);

	expect_check(test, &walk, PAGE_END, 0, TRANS_PGD_READ, "not mapped");
	expect_check(test, &walk, LINEAR_START - PAGE_SIZE, 0, TRANS_PGD_READ,
		     "not in the range of the tables");
	give_back(test);
}

/* The copy treats read-only data, text and free memory alike. */
static void trans_pgd_copy_live_reaches_kernel(struct kunit *test)
{
	const void *places[] = {
		lm_alias(_text), lm_alias(_etext - 1), lm_alias(__start_rodata),
		lm_alias(__end_rodata - 1), lm_alias(_end - 1), new_page(test),
	};
	struct trans_pgd_walk walk;
	pgd_t *pgd = NULL;
	int i;

	KUNIT_ASSERT_EQ(test, 0, copy_live(test, &pgd));
	walk = trans_pgd_walk_ttbr1(virt_to_phys(pgd));
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		unsigned long addr = (unsigned long)places[i] & PAGE_MASK;
		phys_addr_t phys = virt_to_phys((void *)addr);

		expect_check(test, &walk, addr, phys, TRANS_PGD_READ, NULL);
		expect_check(test, &walk, addr, phys, TRANS_PGD_WRITE, NULL);
		expect_check(test, &walk, addr, phys, TRANS_PGD_EXEC,
			     "not executable");
	}
	give_back(test);
}

/* predict() returns the attributes that are common to all, or one of these */
#define NO_MEMORY	0
#define NOT_ALIKE	1

/*
 * Count the tables that the copy needs for a live table and those below it. It
 * needs none if all memory in the live table is alike, contiguous and aligned.
 */
static u64 predict(const u64 *live, unsigned long addr, int level, bool full,
		   unsigned int *tables)
{
	const u64 ignored = PTE_ADDR_MASK | PTE_TYPE_MASK | PTE_WRITE | PTE_RDONLY |
			    PTE_CONT;
	phys_addr_t phys = virt_to_phys((void *)addr);
	u64 size = LEVEL_SIZE(level), all = NO_MEMORY;
	unsigned int i;

	cond_resched();
	for (i = 0; i < ENTRIES; i++, addr += size) {
		u64 this = live[i] & ~ignored;
		u64 memory = full ? size : memory_in(phys + i * size, size);

		if (!memory)
			this = NO_MEMORY;
		else if (is_table(live[i], level))
			this = predict(table_of(live[i]), addr, level + 1,
				       memory == size, tables);
		if (!i)
			all = this;
		else if (this != all)
			all = NOT_ALIKE;
	}

	if (all == NO_MEMORY)
		return NO_MEMORY;
	if (all != NOT_ALIKE && level > FIRST_BLOCK_LEVEL &&
	    level > KERNEL_TOP_LEVEL &&
	    IS_ALIGNED(phys, LEVEL_SIZE(level - 1)))
		return all;

	++*tables;
	return NOT_ALIKE;
}

static unsigned int predict_live(void)
{
	int level = KERNEL_TOP_LEVEL;
	unsigned int tables = 1;
	unsigned long addr;

	for (addr = LINEAR_START; addr < PAGE_END; addr += LEVEL_SIZE(level)) {
		u64 desc = pgd_val(READ_ONCE(*pgd_offset_k(addr)));

		if (is_table(desc, level))
			predict(table_of(desc), addr, level + 1, false,
				&tables);
	}

	return tables;
}

static void trans_pgd_copy_live_size(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	pgd_t *pgd = NULL;

	KUNIT_ASSERT_EQ(test, 0, copy_live(test, &pgd));
	KUNIT_EXPECT_EQ(test, t->info.trans_nr_pages, predict_live());
	kunit_info(test, "%u table pages\n", t->info.trans_nr_pages);
	give_back(test);
}

/* A copy made part by part equals one made at once. */
static void trans_pgd_copy_live_by_parts(struct kunit *test)
{
	pgd_t *whole = NULL, *parts = NULL;
	struct trans_pgd_test *t = test->priv;
	phys_addr_t start, end, phys;
	unsigned int pages, blocks;
	unsigned long addr;
	u64 i;

	KUNIT_ASSERT_EQ(test, 0, copy_live(test, &whole));
	pages = t->info.trans_nr_pages;
	blocks = t->info.trans_nr_blocks;

	KUNIT_ASSERT_EQ(test, 0, trans_pgd_create_copy(&t->info, &parts,
						       PAGE_END, PAGE_END));
	for_each_mem_range(i, &start, &end) {
		/* Some parts come twice. The last part is never left out. */
		for (phys = start; phys < end + PART_SIZE / 2;
		     phys += PART_SIZE / 2) {
			addr = (unsigned long)phys_to_virt(min(phys,
							       end - PAGE_SIZE));
			KUNIT_ASSERT_EQ(test, 0,
					trans_pgd_copy_part(&t->info, parts,
							    addr));
		}
	}
	KUNIT_EXPECT_GT(test, compare(test, (u64 *)parts, (u64 *)whole,
				      KERNEL_TOP_LEVEL), 0U);
	KUNIT_EXPECT_EQ(test, t->info.trans_nr_pages, 2 * pages);
	KUNIT_EXPECT_EQ(test, t->info.trans_nr_blocks, 2 * blocks);
	give_back(test);
}

static int try_copy_live(struct kunit *test, void *arg)
{
	pgd_t *pgd = NULL;
	int ret = copy_live(test, &pgd);

	if (ret)
		KUNIT_EXPECT_PTR_EQ(test, pgd, (pgd_t *)NULL);
	return ret;
}

static void trans_pgd_copy_live_no_memory(struct kunit *test)
{
	expect_no_memory(test, try_copy_live, NULL);
}

/* Copies of tables that are made for the test */

/**
 * struct copy_args - a call of one of the functions that copy
 * @t:     state of the test case
 * @pgd:   the copy to add to, or NULL for a new one; set to the copy
 * @start: start of the range
 * @end:   end of the range; 0 for trans_pgd_copy_part() with @start
 * @ret:   the return value of the call
 */
struct copy_args {
	struct trans_pgd_test *t;
	pgd_t *pgd;
	unsigned long start;
	unsigned long end;
	int ret;
};

/*
 * The library copies the tables of &init_mm, so let &init_mm point to the
 * test's tables. The hardware has its own pointer to the live tables. It never
 * walks the test's tables, so their entries may map memory that does not exist.
 *
 * Other code looks at &init_mm too, for example to allocate or to free under
 * debug_pagealloc, and at the place of the crash kernel. The machine is stopped
 * to keep that code from running meanwhile.
 */
static int copy_stopped(void *data)
{
	struct copy_args *args = data;
	struct trans_pgd_test *t = args->t;
	pgd_t *pgd = init_mm.pgd;

	if (t->crash)
		swap(*t->crash, t->range);
	init_mm.pgd = (pgd_t *)t->live;
	if (!args->end)
		args->ret = trans_pgd_copy_part(&t->info, args->pgd,
						args->start);
	else if (args->pgd)
		args->ret = trans_pgd_copy_range(&t->info, args->pgd,
						 args->start, args->end);
	else
		args->ret = trans_pgd_create_copy(&t->info, &args->pgd,
						  args->start, args->end);
	init_mm.pgd = pgd;
	if (t->crash)
		swap(*t->crash, t->range);
	return 0;
}

static int copy_range(struct kunit *test, unsigned long start,
		      unsigned long end, pgd_t **pgd)
{
	struct trans_pgd_test *t = test->priv;
	struct copy_args args = {
		.t = t, .pgd = *pgd, .start = start, .end = end,
	};

	add_spare(test, NR_SPARE);
	KUNIT_ASSERT_EQ(test, 0, stop_machine(copy_stopped, &args, NULL));
	free_all(&t->spare);
	*pgd = args.pgd;
	return args.ret;
}

/* Make new, empty @live and @want. */
static void start_over(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;

	free_all(&t->own);
	t->live = new_page(test);
	t->want = new_page(test);
}

/* Check that the copy of @live is @want, entry by entry. */
static void expect_copy(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	pgd_t *pgd = NULL;

	KUNIT_ASSERT_EQ(test, 0, copy_range(test, LINEAR_START, PAGE_END,
					    &pgd));
	expect_tables(test, (u64 *)pgd, t->want, VA_BITS);
	give_back(test);
}

/* Make one live entry and the expected entry of the copy. */
static void put_both(struct kunit *test, unsigned long addr, int level,
		     pgprot_t live, pgprot_t want)
{
	struct trans_pgd_test *t = test->priv;

	put(test, t->live, addr, level, leaf(phys_of(addr), level, live));
	put(test, t->want, addr, level, leaf(phys_of(addr), level, want));
}

/*
 * Tables and the expected copies as data. Attributes have names here, because
 * PAGE_KERNEL and others are no constants.
 */
enum attr { NONE, RW, RO, RW_CONT, RO_CONT, NC, BTI, TAGGED };

static pgprot_t prot_of(enum attr attr)
{
	switch (attr) {
	case RO:
		return PAGE_KERNEL_RO;
	case RW_CONT:
		return __pgprot(pgprot_val(PAGE_KERNEL) | PTE_CONT);
	case RO_CONT:
		return __pgprot(pgprot_val(PAGE_KERNEL_RO) | PTE_CONT);
	case NC:
		return __pgprot(PROT_NORMAL_NC | PTE_DIRTY);
	case BTI:
		return __pgprot(pgprot_val(PAGE_KERNEL) | PTE_GP);
	case TAGGED:
		return __pgprot(PROT_NORMAL_TAGGED | PTE_DIRTY);
	default:
		return PAGE_KERNEL;
	}
}

/**
 * struct run - entries in a row
 * @attr:  attributes; NONE: the entries are 0, and the tables above them exist
 * @level: level of the entries
 * @at:    offset of the first one's address, in bytes
 * @nr:    number of entries
 * @phys:  offset from the physical address that phys_of() gives, in bytes
 */
struct run {
	enum attr attr;
	int level;
	s64 at;
	unsigned int nr;
	s64 phys;
};

#define MAX_RUNS	4

/**
 * struct copy_case - live tables, and the expected copy
 * @name:    what is special
 * @live:    the live tables; a later run overwrites an earlier one
 * @want:    the copy, likewise; without a run: the copy is as @live
 * @ranges:  start and end of the ranges to copy, as offsets; without a range: the
 *           whole linear map
 * @ordered: copy the ranges in this order only, and not in the reverse order
 */
struct copy_case {
	const char *name;
	struct run live[MAX_RUNS];
	struct run want[MAX_RUNS];
	s64 ranges[2][2];
	bool ordered;
};

/* An address in the linear map that is not its first */
static unsigned long some_addr(void)
{
	return LINEAR_START + 3 * LEVEL_SIZE(max(KERNEL_TOP_LEVEL, 1));
}

/* Whether this kernel's linear map has the level and the place of each run. */
static bool has_runs(const struct run *run, unsigned long from)
{
	unsigned int nr = MAX_RUNS;
	unsigned long addr;

	for (; nr-- && run->nr; run++) {
		if (run->level < KERNEL_TOP_LEVEL ||
		    (run->attr && run->level < FIRST_BLOCK_LEVEL))
			return false;
		addr = from + run->at;
		if (addr < LINEAR_START || addr >= PAGE_END ||
		    run->nr * LEVEL_SIZE(run->level) > PAGE_END - addr)
			return false;
	}

	return true;
}

static void put_runs(struct kunit *test, u64 *top, const struct run *run,
		     unsigned long from)
{
	unsigned int nr = MAX_RUNS, i;
	unsigned long addr;
	u64 desc;

	for (; nr-- && run->nr; run++) {
		for (i = 0; i < run->nr; i++) {
			addr = from + run->at + i * LEVEL_SIZE(run->level);
			desc = leaf(phys_of(addr) + run->phys, run->level,
				    prot_of(run->attr));
			put(test, top, addr, run->level, run->attr ? desc : 0);
		}
	}
}

static bool is_range(const s64 *range)
{
	return range[0] || range[1];
}

/* Copy one range, then the other if there is one, and compare. */
static void expect_ranges(struct kunit *test, const struct copy_case *c,
			  unsigned long from, const s64 *one, const s64 *other)
{
	struct trans_pgd_test *t = test->priv;
	pgd_t *pgd = NULL, *copy;

	KUNIT_ASSERT_EQ_MSG(test, 0, copy_range(test, from + one[0],
						from + one[1], &pgd),
			    "%s", c->name);
	copy = pgd;
	if (is_range(other))
		KUNIT_ASSERT_EQ_MSG(test, 0, copy_range(test, from + other[0],
							from + other[1], &copy),
				    "%s", c->name);
	KUNIT_EXPECT_PTR_EQ_MSG(test, pgd, copy, "%s", c->name);
	expect_named_tables(test, (u64 *)pgd, t->want, VA_BITS, c->name);
	give_back(test);
}

/*
 * Run cases. Their offsets are from the address @from. A case is left out if
 * the linear map of this kernel has no such level or place.
 */
static void expect_cases(struct kunit *test, unsigned long from,
			 const struct copy_case *c, unsigned int nr)
{
	const s64 whole[] = { LINEAR_START - from, PAGE_END - from };
	struct trans_pgd_test *t = test->priv;
	unsigned int left_out = 0;

	for (; nr--; c++) {
		const s64 *one = c->ranges[0], *other = c->ranges[1];

		if (!has_runs(c->live, from) || !has_runs(c->want, from)) {
			left_out++;
			continue;
		}
		start_over(test);
		put_runs(test, t->live, c->live, from);
		put_runs(test, t->want, c->want[0].nr ? c->want : c->live, from);
		if (!is_range(one))
			one = whole;
		expect_ranges(test, c, from, one, other);
		if (is_range(other) && !c->ordered)
			expect_ranges(test, c, from, other, one);
	}
	if (left_out)
		kunit_info(test, "%u cases are for other sizes of tables\n",
			   left_out);
}

static void trans_pgd_copy_empty(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "nothing" },
		{ "a last-level table is left out, and those above it are not",
		  .live = { { NONE, 3, 0, 1 } },
		  .want = { { NONE, 2, 0, 1 } } },
	};

	expect_cases(test, LINEAR_START, cases, ARRAY_SIZE(cases));
}

static void trans_pgd_copy_page(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "the first page",
		  .live = { { RW, 3, 0, 1 } } },
		{ "and one of another table",
		  .live = { { RW, 3, 0, 1 }, { RW, 3, 3 * SIZE2, 1 } } },
	};

	expect_cases(test, LINEAR_START, cases, ARRAY_SIZE(cases));
}

static void trans_pgd_copy_read_only(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "a page beside one that is writable",
		  .live = { { RO, 3, 7 * PAGE_SIZE, 1 },
			    { RW, 3, 8 * PAGE_SIZE, 1 } },
		  .want = { { RW, 3, 7 * PAGE_SIZE, 2 } } },
		{ "a block at level 1",
		  .live = { { RO, 1, 5 * LEVEL_SIZE(1), 1 } },
		  .want = { { RW, 1, 5 * LEVEL_SIZE(1), 1 } } },
		{ "a block at level 1 that is not below the first entry",
		  .live = { { RO, 1, LEVEL_SIZE(0) + 5 * LEVEL_SIZE(1), 1 } },
		  .want = { { RW, 1, LEVEL_SIZE(0) + 5 * LEVEL_SIZE(1), 1 } } },
		{ "a block at level 2",
		  .live = { { RO, 2, 5 * SIZE2, 1 } },
		  .want = { { RW, 2, 5 * SIZE2, 1 } } },
		{ "a block at level 2 that is not below the first entry",
		  .live = { { RO, 2, LEVEL_SIZE(1) + 5 * SIZE2, 1 } },
		  .want = { { RW, 2, LEVEL_SIZE(1) + 5 * SIZE2, 1 } } },
		{ "part of a table, which is alike in the copy",
		  .live = { { RW, 3, 0, ENTRIES },
			    { RO, 3, 3 * PAGE_SIZE, 9 } },
		  .want = { { RW, 2, 0, 1 } } },
	};

	expect_cases(test, LINEAR_START, cases, ARRAY_SIZE(cases));
}

/* Attributes other than writable and contiguous stay as they are. */
static void trans_pgd_copy_keeps_attributes(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "three pages",
		  .live = { { NC, 3, 0, 1 }, { BTI, 3, PAGE_SIZE, 1 },
			    { TAGGED, 3, 2 * PAGE_SIZE, 1 } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

/* A full table, but one page is as @attr */
static void copy_full_but_one(struct kunit *test, enum attr attr)
{
	const unsigned int where[] = { 0, 1, ENTRIES / 2, ENTRIES - 2,
				       ENTRIES - 1 };
	int i;

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		const struct copy_case odd = {
			"all but one page",
			.live = { { RW, 3, 0, ENTRIES },
				  { attr, 3, where[i] * PAGE_SIZE, 1 } },
		};

		expect_cases(test, some_addr(), &odd, 1);
	}
}

static void trans_pgd_copy_holes(struct kunit *test)
{
	copy_full_but_one(test, NONE);
}

static void trans_pgd_copy_full_table(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "beside another table, which is not full",
		  .live = { { RW, 3, 0, ENTRIES }, { RW, 3, SIZE2, 2 } },
		  .want = { { RW, 2, 0, 1 }, { RW, 3, SIZE2, 2 } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

static void trans_pgd_copy_odd_attribute(struct kunit *test)
{
	copy_full_but_one(test, NC);
}

/* All entries are alike, but one block would map other memory. */
static void trans_pgd_copy_misplaced_table(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "not aligned",
		  .live = { { RW, 3, 0, ENTRIES, PAGE_SIZE } } },
		{ "two pages have changed places",
		  .live = { { RW, 3, 0, ENTRIES },
			    { RW, 3, 4 * PAGE_SIZE, 1, 2 * PAGE_SIZE },
			    { RW, 3, 6 * PAGE_SIZE, 1, -2 * PAGE_SIZE } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

static void trans_pgd_copy_contiguous(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "in a table that is not full, and in one that is",
		  .live = { { RW_CONT, 3, 0, 2 * CONT_PTES },
			    { RW_CONT, 3, SIZE2, ENTRIES } },
		  .want = { { RW, 3, 0, 2 * CONT_PTES },
			    { RW, 2, SIZE2, 1 } } },
		{ "among pages without the hint",
		  .live = { { RW, 3, 0, ENTRIES },
			    { RO_CONT, 3, 0, CONT_PTES } },
		  .want = { { RW, 2, 0, 1 } } },
		{ "blocks",
		  .live = { { RW_CONT, 2, CONT_PMD_SIZE, CONT_PMDS } },
		  .want = { { RW, 2, CONT_PMD_SIZE, CONT_PMDS } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

static void trans_pgd_copy_blocks(struct kunit *test)
{
	int level;

	for (level = 1; level < 3; level++) {
		const s64 size = LEVEL_SIZE(level);
		const struct copy_case blocks = {
			"blocks beside a page",
			.live = { { RW, level, 0, 1 }, { RO, level, 2 * size, 1 },
				  { NC, level, 3 * size, 1 }, { RW, 3, 4 * size, 1 } },
			.want = { { RW, level, 0, 1 }, { RW, level, 2 * size, 1 },
				  { NC, level, 3 * size, 1 }, { RW, 3, 4 * size, 1 } },
		};

		expect_cases(test, LINEAR_START, &blocks, 1);
	}
}

/* A whole table of blocks becomes a block where the next level up has them. */
static void trans_pgd_copy_full_table_of_blocks(struct kunit *test)
{
	const unsigned long addr = KERNEL_TOP_LEVEL < 2 ? some_addr() :
							  LINEAR_START;
	static const struct copy_case cases[] = {
		{ "half of it",
		  .live = { { RO, 2, 0, ENTRIES / 2 } },
		  .want = { { RW, 2, 0, ENTRIES / 2 } } },
		{ "one of them is a table of pages, which is equivalent",
		  .live = { { RW, 2, 0, ENTRIES },
			    { NONE, 2, 9 * SIZE2, 1 },
			    { RO, 3, 9 * SIZE2, ENTRIES } },
		  .want = { { RW, MERGED_LEVEL, 0, MERGED_LEVEL == 1 ? 1 : ENTRIES } } },
		{ "the last has a hole",
		  .live = { { RW, 2, 0, ENTRIES - 1 },
			    { RW, 3, (ENTRIES - 1) * SIZE2, ENTRIES - 1 } } },
		{ "the last has another attribute",
		  .live = { { RW, 2, 0, ENTRIES - 1 },
			    { NC, 2, (ENTRIES - 1) * SIZE2, 1 } } },
		{ "the last is missing",
		  .live = { { RW, 2, 0, ENTRIES - 1 } } },
		{ "alike, but not aligned to a block of the next level",
		  .live = { { RW, 2, 0, ENTRIES, SIZE2 } } },
	};

	expect_cases(test, addr, cases, ARRAY_SIZE(cases));
}

/* The last page below the first entry of each level, and of the linear map */
static void trans_pgd_copy_last_entry(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "the last page",
		  .live = { { RO, 3, -PAGE_SIZE, 1 } },
		  .want = { { RW, 3, -PAGE_SIZE, 1 } } },
	}, blocks[] = {
		{ "the last block of level 2",
		  .live = { { RO, 2, -SIZE2, 1 } },
		  .want = { { RW, 2, -SIZE2, 1 } } },
		{ "a block of level 1 before that",
		  .live = { { RO, 2, -SIZE2, 1 },
			    { RO, 1, -2 * LEVEL_SIZE(1), 1 } },
		  .want = { { RW, 2, -SIZE2, 1 },
			    { RW, 1, -2 * LEVEL_SIZE(1), 1 } } },
	};
	int level;

	for (level = KERNEL_TOP_LEVEL; level < 3; level++)
		expect_cases(test, LINEAR_START + LEVEL_SIZE(level), cases,
			     ARRAY_SIZE(cases));
	expect_cases(test, PAGE_END, cases, ARRAY_SIZE(cases));
	expect_cases(test, PAGE_END, blocks, ARRAY_SIZE(blocks));
}

/* The range starts and ends inside tables and blocks. */
static void trans_pgd_copy_one_range(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "half a table, a whole one, half a table",
		  .live = { { RW, 3, 0, 3 * ENTRIES } },
		  .want = { { RW, 3, HALF, ENTRIES / 2 },
			    { RW, 2, SIZE2, 1 },
			    { RW, 3, 2 * SIZE2, ENTRIES / 2 } },
		  .ranges = { { HALF, 2 * SIZE2 + HALF } } },
		{ "one page of a table",
		  .live = { { RW, 3, 0, ENTRIES } },
		  .want = { { RW, 3, HALF, 1 } },
		  .ranges = { { HALF, HALF + PAGE_SIZE } } },
		{ "all but the last page",
		  .live = { { RW, 3, 0, ENTRIES } },
		  .want = { { RW, 3, 0, ENTRIES - 1 } },
		  .ranges = { { 0, SIZE2 - PAGE_SIZE } } },
		{ "blocks are copied whole, though the range ends in one",
		  .live = { { RW, 2, 0, 4 } },
		  .want = { { RW, 2, SIZE2, 2 } },
		  .ranges = { { SIZE2, 2 * SIZE2 + PAGE_SIZE } } },
		{ "blocks are copied whole, though the range starts in one",
		  .live = { { RW, 2, 0, 4 } },
		  .want = { { RW, 2, SIZE2, 2 } },
		  .ranges = { { SIZE2 + HALF, 3 * SIZE2 } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

/* Ranges of pages that adjoin, overlap, or are the same */
static void trans_pgd_copy_ranges(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "an empty one copies nothing",
		  .live = { { RW, 3, 0, 2 } },
		  .want = { { RW, 3, 0, 1 } },
		  .ranges = { { PAGE_SIZE, PAGE_SIZE }, { 0, PAGE_SIZE } } },
		{ "they adjoin inside a table, so it does not become a block",
		  .live = { { RO, 3, 0, ENTRIES } },
		  .want = { { RW, 3, 0, ENTRIES } },
		  .ranges = { { 0, HALF }, { HALF, SIZE2 } } },
		{ "a page is left out between them",
		  .live = { { RO, 3, 0, ENTRIES } },
		  .want = { { RW, 3, 0, ENTRIES }, { NONE, 3, HALF, 1 } },
		  .ranges = { { 0, HALF }, { HALF + PAGE_SIZE, SIZE2 } } },
		{ "the last page is left out",
		  .live = { { RO, 3, 0, ENTRIES } },
		  .want = { { RW, 3, 0, ENTRIES - 1 } },
		  .ranges = { { 0, HALF }, { HALF, SIZE2 - PAGE_SIZE } } },
		{ "the first page is left out",
		  .live = { { RO, 3, 0, ENTRIES } },
		  .want = { { RW, 3, PAGE_SIZE, ENTRIES - 1 } },
		  .ranges = { { PAGE_SIZE, HALF }, { HALF, SIZE2 } } },
		{ "they adjoin at the end of a table, so there are two blocks",
		  .live = { { RW, 3, 0, 2 * ENTRIES } },
		  .want = { { RW, 2, 0, 2 } },
		  .ranges = { { 0, SIZE2 }, { SIZE2, 2 * SIZE2 } } },
		{ "the same twice",
		  .live = { { RW, 3, 0, 2 * ENTRIES } },
		  .want = { { RW, 2, 0, 2 } },
		  .ranges = { { 0, 2 * SIZE2 }, { 0, 2 * SIZE2 } } },
		{ "they overlap in the second table",
		  .live = { { RW, 3, 0, 2 * ENTRIES } },
		  .want = { { RW, 2, 0, 1 }, { RW, 3, SIZE2, ENTRIES } },
		  .ranges = { { 0, SIZE2 + HALF },
			      { SIZE2 + PAGE_SIZE, 2 * SIZE2 } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

/* A block or table of the first range stays a block or table. */
static void trans_pgd_copy_ranges_nested(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "half a table, then all of it",
		  .live = { { RW, 3, 0, ENTRIES } },
		  .ranges = { { HALF, SIZE2 }, { 0, SIZE2 } },
		  .ordered = true },
		{ "all of it, then half",
		  .live = { { RW, 3, 0, ENTRIES } },
		  .want = { { RW, 2, 0, 1 } },
		  .ranges = { { 0, SIZE2 }, { HALF, SIZE2 } },
		  .ordered = true },
		{ "a range that ends in a block has all of it",
		  .live = { { RO, 2, 0, 2 } },
		  .want = { { RW, 2, 0, 2 } },
		  .ranges = { { 0, HALF }, { HALF, SIZE2 + PAGE_SIZE } } },
		{ "a table of blocks that becomes one, twice",
		  .live = { { RW, 2, 0, ENTRIES } },
		  .want = { { RW, 1, 0, 1 } },
		  .ranges = { { 0, LEVEL_SIZE(1) }, { 0, LEVEL_SIZE(1) } } },
		{ "a table of blocks in two ranges",
		  .live = { { RW, 2, 0, ENTRIES } },
		  .ranges = { { 0, SIZE2 }, { SIZE2, LEVEL_SIZE(1) } } },
	};

	expect_cases(test, some_addr(), cases, ARRAY_SIZE(cases));
}

/* Two pages on each side of the border between two entries of a level */
static void trans_pgd_copy_ranges_across(struct kunit *test)
{
	static const struct copy_case cases[] = {
		{ "they adjoin at the border",
		  .live = { { RO, 3, -2 * PAGE_SIZE, 4 } },
		  .want = { { RW, 3, -2 * PAGE_SIZE, 4 } },
		  .ranges = { { -2 * PAGE_SIZE, 0 }, { 0, 2 * PAGE_SIZE } } },
		{ "one within the other",
		  .live = { { RO, 3, -2 * PAGE_SIZE, 4 } },
		  .want = { { RW, 3, -2 * PAGE_SIZE, 4 } },
		  .ranges = { { -PAGE_SIZE, PAGE_SIZE },
			      { -2 * PAGE_SIZE, 2 * PAGE_SIZE } } },
		{ "they overlap",
		  .live = { { RO, 3, -2 * PAGE_SIZE, 4 } },
		  .want = { { RW, 3, -2 * PAGE_SIZE, 4 } },
		  .ranges = { { -2 * PAGE_SIZE, PAGE_SIZE },
			      { -PAGE_SIZE, 2 * PAGE_SIZE } } },
		{ "both end at the border",
		  .live = { { RW, 3, -PAGE_SIZE, 2 } },
		  .want = { { RW, 3, -PAGE_SIZE, 1 } },
		  .ranges = { { -PAGE_SIZE, 0 }, { -PAGE_SIZE, 0 } } },
		{ "both start at the border",
		  .live = { { RW, 3, -PAGE_SIZE, 2 } },
		  .want = { { RW, 3, 0, 1 } },
		  .ranges = { { 0, PAGE_SIZE }, { 0, PAGE_SIZE } } },
	};
	int level;

	for (level = KERNEL_TOP_LEVEL; level < 3; level++)
		expect_cases(test, LINEAR_START + LEVEL_SIZE(level), cases,
			     ARRAY_SIZE(cases));
}

/* Hidden pages. What is expected depends on whether they are memory. */

/* Make an invalid entry. @hidden: the copy has it, and there it is valid. */
static void put_invalid(struct kunit *test, unsigned long addr,
			phys_addr_t phys, bool hidden)
{
	struct trans_pgd_test *t = test->priv;

	put(test, t->live, addr, 3, leaf(phys, 3, PAGE_KERNEL) & ~PTE_VALID);
	if (hidden)
		put(test, t->want, addr, 3, leaf(phys, 3, PAGE_KERNEL));
}

/* Whether anything in this kernel makes the entries of single pages invalid */
static bool may_hide(void)
{
	return rodata_full || debug_pagealloc_enabled() ||
	       IS_ENABLED(CONFIG_KFENCE);
}

/* What is expected depends on whether this kernel may hide pages. */
static void trans_pgd_copy_invalid(struct kunit *test)
{
	phys_addr_t text = virt_to_phys(lm_alias(_text));
	unsigned long addr = some_addr();
	void *page;

	start_over(test);
	page = new_page(test);
	KUNIT_ASSERT_TRUE(test, PageReserved(phys_to_page(text)));
	KUNIT_ASSERT_FALSE(test, PageReserved(virt_to_page(page)));
	KUNIT_ASSERT_FALSE(test, pfn_valid(PHYS_PFN(phys_of(addr))));

	/* A last-level table without memory is left out, see copy_empty */
	put_invalid(test, addr, phys_of(addr), false);
	put_invalid(test, addr + PAGE_SIZE, phys_of(addr + PAGE_SIZE), false);
	if (KERNEL_TOP_LEVEL < 2) {
		struct trans_pgd_test *t = test->priv;

		entry_at(test, t->want, VA_BITS, addr, 2);
	}
	expect_copy(test);

	put_both(test, addr + 2 * PAGE_SIZE, 3, PAGE_KERNEL, PAGE_KERNEL);
	put_invalid(test, addr + 3 * PAGE_SIZE, virt_to_phys(page), may_hide());
	put_invalid(test, addr + 4 * PAGE_SIZE, text, may_hide());
	put_invalid(test, addr + (ENTRIES - 1) * PAGE_SIZE, virt_to_phys(page),
		    may_hide());
	expect_copy(test);
}

/* Allocate contiguous pages. */
static phys_addr_t new_pages(struct kunit *test, unsigned int order)
{
	struct trans_pgd_test *t = test->priv;
	struct page *page = alloc_pages(GFP_KERNEL, order);
	unsigned int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	split_page(page, order);
	for (i = 0; i < BIT(order); i++)
		list_add_tail(&page[i].lru, &t->own);
	return page_to_phys(page);
}

/* Hidden pages of the crash kernel stay out, and no other hidden pages. */
static void trans_pgd_copy_crash_kernel(struct kunit *test)
{
	struct resource *const crash[] = {
#ifdef CONFIG_KEXEC_CORE
		&crashk_res,
		&crashk_low_res,
#endif
		NULL,
	};
	struct trans_pgd_test *t = test->priv;
	unsigned long addr = some_addr();
	phys_addr_t phys;
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(crash); i++) {
		start_over(test);
		phys = new_pages(test, 2);
		t->crash = crash[i];
		t->range = (struct resource) {
			.start = phys + PAGE_SIZE,
			.end = phys + 3 * PAGE_SIZE - 1,
		};
		for (n = 0; n < 4; n++)
			put_invalid(test, addr + n * PAGE_SIZE,
				    phys + n * PAGE_SIZE,
				    may_hide() &&
				    (!crash[i] || n == 0 || n == 3));
		/* A valid page is in the copy wherever it is */
		put(test, t->live, addr + 5 * PAGE_SIZE, 3,
		    leaf(phys + PAGE_SIZE, 3, PAGE_KERNEL_RO));
		put(test, t->want, addr + 5 * PAGE_SIZE, 3,
		    leaf(phys + PAGE_SIZE, 3, PAGE_KERNEL));
		expect_copy(test);
	}
	t->crash = NULL;
}

/* Find memory that is not reserved and fills a table. Return 0 if none. */
static phys_addr_t find_usable_block(void)
{
	phys_addr_t start, end, phys;
	u64 i;

	for_each_mem_range(i, &start, &end) {
		for (start = round_up(start, LEVEL_SIZE(2)), phys = start;
		     phys + PAGE_SIZE <= end;) {
			if (PageReserved(phys_to_page(phys))) {
				start = round_down(phys, LEVEL_SIZE(2)) +
					LEVEL_SIZE(2);
				phys = start;
				continue;
			}
			phys += PAGE_SIZE;
			if (phys - start == LEVEL_SIZE(2))
				return start;
		}
	}

	return 0;
}

/* A table in which every second page is hidden, or is a hole */
static void trans_pgd_copy_invalid_table(struct kunit *test)
{
	phys_addr_t block = find_usable_block();
	struct trans_pgd_test *t = test->priv;
	unsigned long addr = some_addr();
	phys_addr_t phys;
	unsigned int i;

	if (!block) {
		kunit_info(test, "no table's worth of usable memory\n");
		return;
	}

	start_over(test);
	for (i = 0; i < ENTRIES; i++) {
		phys = block + i * PAGE_SIZE;
		put(test, t->live, addr + i * PAGE_SIZE, 3,
		    leaf(phys, 3, PAGE_KERNEL) & ~(i & 1 ? PTE_VALID : 0));
		if (!may_hide() && !(i & 1))
			put(test, t->want, addr + i * PAGE_SIZE, 3,
			    leaf(phys, 3, PAGE_KERNEL));
	}
	if (may_hide())
		put(test, t->want, addr, 2, leaf(block, 2, PAGE_KERNEL));
	expect_copy(test);

	/* The last page is not memory */
	start_over(test);
	for (i = 0; i < ENTRIES - 1; i++) {
		phys = block + i * PAGE_SIZE;
		put(test, t->live, addr + i * PAGE_SIZE, 3,
		    leaf(phys, 3, PAGE_KERNEL));
		put(test, t->want, addr + i * PAGE_SIZE, 3,
		    leaf(phys, 3, PAGE_KERNEL));
	}
	put_invalid(test, addr + i * PAGE_SIZE, phys_of(addr), false);
	expect_copy(test);
}

static int try_copy_range(struct kunit *test, void *arg)
{
	pgd_t *pgd = NULL;
	int ret = copy_range(test, LINEAR_START, PAGE_END, &pgd);

	if (ret)
		KUNIT_EXPECT_PTR_EQ(test, pgd, (pgd_t *)NULL);
	return ret;
}

/* Copy all but the last page, then the last page. The first range stays. */
static int try_copy_ranges(struct kunit *test, void *arg)
{
	unsigned long last = PAGE_END - PAGE_SIZE;
	pgd_t *first, *pgd = NULL;
	struct trans_pgd_walk walk;
	int ret;

	ret = copy_range(test, LINEAR_START, last, &pgd);
	if (ret)
		return ret;

	first = pgd;
	ret = copy_range(test, last, PAGE_END, &pgd);
	KUNIT_EXPECT_PTR_EQ(test, pgd, first);
	walk = trans_pgd_walk_ttbr1(virt_to_phys(pgd));
	expect_check(test, &walk, LINEAR_START, phys_of(LINEAR_START),
		     TRANS_PGD_WRITE, NULL);
	expect_check(test, &walk, last, phys_of(last), TRANS_PGD_WRITE,
		     ret ? "not mapped" : NULL);
	return ret;
}

static void trans_pgd_copy_no_memory(struct kunit *test)
{
	/* Two of each kind of table below the top, and blocks between them */
	start_over(test);
	put_both(test, LINEAR_START, 3, PAGE_KERNEL, PAGE_KERNEL);
	put_both(test, LINEAR_START + 2 * LEVEL_SIZE(2), 2, PAGE_KERNEL,
		 PAGE_KERNEL);
	put_both(test, LINEAR_START + 3 * LEVEL_SIZE(2), 3, PAGE_KERNEL,
		 PAGE_KERNEL);
	put_both(test, PAGE_END - PAGE_SIZE, 3, PAGE_KERNEL, PAGE_KERNEL);
	expect_copy(test);
	expect_no_memory(test, try_copy_range, NULL);
	expect_no_memory(test, try_copy_ranges, NULL);
}

/* After -ENOMEM a range can be copied again. */
static void trans_pgd_copy_range_again(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	unsigned int n = 0;
	pgd_t *pgd;
	int ret;

	start_over(test);
	put_both(test, LINEAR_START, 3, PAGE_KERNEL, PAGE_KERNEL);
	put_both(test, PAGE_END - LEVEL_SIZE(2), 2, PAGE_KERNEL, PAGE_KERNEL);
	put_both(test, PAGE_END - LEVEL_SIZE(2) - PAGE_SIZE, 3, PAGE_KERNEL,
		 PAGE_KERNEL);
	do {
		pgd = NULL;
		KUNIT_ASSERT_EQ(test, 0, copy_range(test, LINEAR_START,
						    LINEAR_START + PAGE_SIZE,
						    &pgd));
		t->fail_at = t->calls + ++n;
		ret = copy_range(test, LINEAR_START, PAGE_END, &pgd);
		t->fail_at = 0;
		KUNIT_ASSERT_EQ(test, 0, copy_range(test, LINEAR_START,
						    PAGE_END, &pgd));
		expect_tables(test, (u64 *)pgd, t->want, VA_BITS);
		give_back(test);
	} while (ret && n < 10000);
	KUNIT_EXPECT_GT(test, n, 1U);
}

static int copy_part(struct kunit *test, pgd_t *pgd, unsigned long addr)
{
	pgd_t *copy = pgd;
	int ret = copy_range(test, addr, 0, &copy);

	KUNIT_EXPECT_PTR_EQ(test, copy, pgd);
	return ret;
}

/* A part is copied whole and once, whichever of its pages is asked for. */
static void trans_pgd_copy_part_of_page(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;
	unsigned long part = LINEAR_START + 2 * PART_SIZE;
	unsigned long last = part + PART_SIZE - PAGE_SIZE;
	const unsigned long pages[] = { part, last, part + PART_SIZE / 2 };
	pgd_t *pgd;
	int i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		start_over(test);
		pgd = NULL;
		KUNIT_ASSERT_EQ(test, 0, copy_range(test, part, part, &pgd));
		put_both(test, part, 3, PAGE_KERNEL_RO, PAGE_KERNEL);
		put_both(test, last, 3, PAGE_KERNEL_RO, PAGE_KERNEL);
		/* The neighbours of the part stay out */
		put_run(test, t->live, part - PAGE_SIZE, 3, 1, PAGE_KERNEL, 0);
		put_run(test, t->live, last + PAGE_SIZE, 3, 1, PAGE_KERNEL, 0);
		KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, pages[i]));

		/* Later changes of the live tables are ignored */
		put_run(test, t->live, part + PAGE_SIZE, 3, 1, PAGE_KERNEL, 0);
		KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, part));
		KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, last));
		expect_tables(test, (u64 *)pgd, t->want, VA_BITS);

		/* The next part is added */
		put_both(test, last + PAGE_SIZE, 3, PAGE_KERNEL, PAGE_KERNEL);
		KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd,
						   last + 2 * PAGE_SIZE));
		expect_tables(test, (u64 *)pgd, t->want, VA_BITS);
		give_back(test);
	}
}

/* A part that is all alike becomes one block, and stays one. */
static void trans_pgd_copy_part_alike(struct kunit *test)
{
	unsigned long part = LINEAR_START + 2 * PART_SIZE;
	struct trans_pgd_test *t = test->priv;
	pgd_t *pgd = NULL;

	start_over(test);
	KUNIT_ASSERT_EQ(test, 0, copy_range(test, part, part, &pgd));
	put_run(test, t->live, part, FIRST_BLOCK_LEVEL + 1, ENTRIES,
		PAGE_KERNEL_RO, 0);
	put_run(test, t->want, part, FIRST_BLOCK_LEVEL, 1, PAGE_KERNEL, 0);
	KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, part + PAGE_SIZE));
	expect_tables(test, (u64 *)pgd, t->want, VA_BITS);
	KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, part));
	expect_tables(test, (u64 *)pgd, t->want, VA_BITS);
	give_back(test);
}

/* The first and last page of the linear map are in parts, others are not. */
static void trans_pgd_copy_part_out_of_range(struct kunit *test)
{
	const unsigned long outside[] = {
		LINEAR_START - PAGE_SIZE, PAGE_END, PAGE_END + PAGE_SIZE,
		-PAGE_SIZE, 0, PAGE_SIZE, BIT_ULL(VA_BITS - 1),
		BIT_ULL(51), (unsigned long)_text & PAGE_MASK,
	};
	struct trans_pgd_test *t = test->priv;
	pgd_t *pgd = NULL;
	int i;

	start_over(test);
	KUNIT_ASSERT_EQ(test, 0, copy_range(test, PAGE_END, PAGE_END, &pgd));
	put_run(test, t->live, PAGE_END, 3, 2, PAGE_KERNEL, 0);
	put_run(test, t->live, -PAGE_SIZE, 3, 1, PAGE_KERNEL, 0);
	put_run(test, t->live, (unsigned long)_text & PAGE_MASK, 3, 1,
		PAGE_KERNEL, 0);
	put_run(test, t->live, LINEAR_START, 3, 1, PAGE_KERNEL, 0);
	put_run(test, t->live, PAGE_END - PAGE_SIZE, 3, 1, PAGE_KERNEL, 0);
	for (i = 0; i < ARRAY_SIZE(outside); i++)
		KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, outside[i]));
	expect_tables(test, (u64 *)pgd, t->want, VA_BITS);

	put_run(test, t->want, LINEAR_START, 3, 1, PAGE_KERNEL, 0);
	put_run(test, t->want, PAGE_END - PAGE_SIZE, 3, 1, PAGE_KERNEL, 0);
	KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, LINEAR_START));
	KUNIT_EXPECT_EQ(test, 0, copy_part(test, pgd, PAGE_END - PAGE_SIZE));
	expect_tables(test, (u64 *)pgd, t->want, VA_BITS);
	give_back(test);
}

static int try_copy_part(struct kunit *test, void *arg)
{
	pgd_t *pgd = NULL;
	int ret;

	ret = copy_range(test, PAGE_END, PAGE_END, &pgd);
	ret = ret ?: copy_part(test, pgd, LINEAR_START);
	return ret ?: copy_part(test, pgd, PAGE_END - PAGE_SIZE);
}

static void trans_pgd_copy_part_no_memory(struct kunit *test)
{
	start_over(test);
	put_both(test, LINEAR_START, 3, PAGE_KERNEL, PAGE_KERNEL);
	put_both(test, PAGE_END - PAGE_SIZE, 3, PAGE_KERNEL, PAGE_KERNEL);
	expect_no_memory(test, try_copy_part, NULL);
}

/* The lookup of pages in tables */

/* Make tables for TTBR0 with one entry, at this address and level. */
static struct trans_pgd_walk walk_with(struct kunit *test, unsigned long addr,
				       int level, u64 desc)
{
	struct trans_pgd_test *t = test->priv;

	start_over(test);
	put(test, t->live, addr, level, desc);
	return trans_pgd_walk_ttbr0(virt_to_phys(t->live), 64 - VA_BITS);
}

static void expect_desc(struct kunit *test, u64 desc, enum trans_pgd_use use,
			const char *want)
{
	unsigned long addr = 5 * PAGE_SIZE;
	struct trans_pgd_walk walk = walk_with(test, addr, 3, desc);

	expect_check(test, &walk, addr, __pte_to_phys(__pte(desc)), use, want);
}

static void trans_pgd_check_permissions(struct kunit *test)
{
	phys_addr_t phys = phys_of(LINEAR_START + 9 * PAGE_SIZE);
	u64 rw = leaf(phys, 3, PAGE_KERNEL), ro = leaf(phys, 3, PAGE_KERNEL_RO);
	u64 rox = leaf(phys, 3, PAGE_KERNEL_ROX);
	u64 rwx = leaf(phys, 3, PAGE_KERNEL_EXEC);

	expect_desc(test, rw, TRANS_PGD_READ, NULL);
	expect_desc(test, rw, TRANS_PGD_WRITE, NULL);
	expect_desc(test, rw, TRANS_PGD_EXEC, "not executable");
	expect_desc(test, ro, TRANS_PGD_READ, NULL);
	expect_desc(test, ro, TRANS_PGD_WRITE, "read-only");
	expect_desc(test, ro, TRANS_PGD_EXEC, "not executable");
	expect_desc(test, rox, TRANS_PGD_READ, "executable");
	expect_desc(test, rox, TRANS_PGD_WRITE, "read-only");
	expect_desc(test, rox, TRANS_PGD_EXEC, NULL);
	expect_desc(test, rwx, TRANS_PGD_READ, "executable");
	expect_desc(test, rwx, TRANS_PGD_WRITE, "executable");
	expect_desc(test, rwx, TRANS_PGD_EXEC, NULL);
}

static void trans_pgd_check_attributes(struct kunit *test)
{
	phys_addr_t phys = phys_of(LINEAR_START + 9 * PAGE_SIZE);
	const u64 other[] = { MT_NORMAL_NC, MT_NORMAL_WT, MT_DEVICE_GRE };
	u64 rw = leaf(phys, 3, PAGE_KERNEL);
	int i;

	expect_desc(test, rw & ~PTE_AF, TRANS_PGD_READ, "not accessible");
	expect_desc(test, rw | PTE_USER, TRANS_PGD_WRITE, "not accessible");
	expect_desc(test, leaf(phys, 3, __pgprot(PROT_NORMAL_TAGGED)),
		    TRANS_PGD_WRITE, NULL);
	for (i = 0; i < ARRAY_SIZE(other); i++)
		expect_desc(test, (rw & ~PTE_ATTRINDX_MASK) |
				  PTE_ATTRINDX(other[i]), TRANS_PGD_WRITE,
			    "not Normal cacheable memory");
}

static void trans_pgd_check_mapped(struct kunit *test)
{
	phys_addr_t phys = phys_of(LINEAR_START + 9 * PAGE_SIZE);
	unsigned long addr = 5 * PAGE_SIZE;
	u64 rw = leaf(phys, 3, PAGE_KERNEL);
	struct trans_pgd_walk walk = walk_with(test, addr, 3, rw);

	expect_check(test, &walk, addr, phys + PAGE_SIZE, TRANS_PGD_READ,
		     "mapped to another page");
	expect_check(test, &walk, addr, 0, TRANS_PGD_READ,
		     "mapped to another page");
	expect_check(test, &walk, addr + PAGE_SIZE, phys + PAGE_SIZE,
		     TRANS_PGD_READ, "not mapped");
	expect_check(test, &walk, addr - PAGE_SIZE, phys - PAGE_SIZE,
		     TRANS_PGD_READ, "not mapped");
	expect_check(test, &walk, addr + LEVEL_SIZE(2), phys, TRANS_PGD_READ,
		     "not mapped");
	expect_desc(test, rw & ~PTE_VALID, TRANS_PGD_READ, "not mapped");
	expect_desc(test, 0, TRANS_PGD_READ, "not mapped");
}

static void trans_pgd_check_range(struct kunit *test)
{
	phys_addr_t phys = phys_of(LINEAR_START);
	u64 rw = leaf(phys, 3, PAGE_KERNEL);
	const char *out = "not in the range of the tables";
	struct trans_pgd_walk walk = walk_with(test, 0, 3, rw);

	expect_check(test, &walk, 0, phys, TRANS_PGD_READ, NULL);
	expect_check(test, &walk, BIT_ULL(VA_BITS), phys, TRANS_PGD_READ, out);
	expect_check(test, &walk, LINEAR_START, phys, TRANS_PGD_READ, out);

	/* For TTBR1, with the VA bits that the CPU has */
	walk = walk_with(test, LINEAR_START, 3, rw);
	walk = trans_pgd_walk_ttbr1(walk.pgd);
	expect_check(test, &walk, LINEAR_START, phys, TRANS_PGD_READ, NULL);
	expect_check(test, &walk, LINEAR_START - PAGE_SIZE, phys,
		     TRANS_PGD_READ, out);
	expect_check(test, &walk, 0, phys, TRANS_PGD_READ, out);
	expect_check(test, &walk, BIT_ULL(vabits_actual) - 1, phys,
		     TRANS_PGD_READ, out);
	expect_check(test, &walk, -PAGE_SIZE, phys, TRANS_PGD_READ,
		     "not mapped");
}

/* A block at every level, also at levels that have no blocks */
static void trans_pgd_check_levels(struct kunit *test)
{
	const char *bad = "mapped by an entry that the level does not have";
	struct trans_pgd_walk walk;
	int level;

	for (level = KERNEL_TOP_LEVEL; level <= 3; level++) {
		bool good = level < 3 && level >= FIRST_BLOCK_LEVEL;
		unsigned long last = LEVEL_SIZE(level) - PAGE_SIZE;
		phys_addr_t phys = phys_of(LINEAR_START);

		walk = walk_with(test, LEVEL_SIZE(level), level,
				 leaf(phys, level, PAGE_KERNEL) &
				 ~PTE_TABLE_BIT);
		expect_check(test, &walk, LEVEL_SIZE(level), phys,
			     TRANS_PGD_WRITE, good ? NULL : bad);
		expect_check(test, &walk, LEVEL_SIZE(level) + last, phys + last,
			     TRANS_PGD_WRITE, good ? NULL : bad);
		expect_check(test, &walk, 0, phys, TRANS_PGD_WRITE,
			     "not mapped");
	}
}

static void trans_pgd_check_tables(struct kunit *test)
{
	phys_addr_t phys = phys_of(LINEAR_START);
	unsigned long addr = 5 * PAGE_SIZE;
	struct trans_pgd_test *t = test->priv;
	struct trans_pgd_walk walk;
	int level, bit;

	for (level = KERNEL_TOP_LEVEL; level < 3; level++) {
		for (bit = 59; bit <= 63; bit++) {
			walk = walk_with(test, addr, 3,
					 leaf(phys, 3, PAGE_KERNEL));
			*entry_at(test, t->live, VA_BITS, addr, level) |=
				BIT_ULL(bit);
			/* NSTable, bit 63, is for the secure world only */
			expect_check(test, &walk, addr, phys, TRANS_PGD_READ,
				     bit == 63 ? NULL :
				     "below a table with restrictions");
		}
	}
}

/* The last leaf found is used again for all that it maps, and for no more. */
static void trans_pgd_check_remembers(struct kunit *test)
{
	unsigned long addr = 3 * LEVEL_SIZE(2), size = LEVEL_SIZE(2);
	phys_addr_t phys = phys_of(LINEAR_START);
	struct trans_pgd_test *t = test->priv;
	struct trans_pgd_walk walk;

	walk = walk_with(test, addr, 2, leaf(phys, 2, PAGE_KERNEL));
	KUNIT_EXPECT_EQ(test, walk.size, 0UL);
	expect_check(test, &walk, addr + PAGE_SIZE, phys + PAGE_SIZE,
		     TRANS_PGD_WRITE, NULL);
	KUNIT_EXPECT_EQ(test, walk.base, addr);
	KUNIT_EXPECT_EQ(test, walk.size, size);
	put(test, t->live, addr, 2, 0);
	expect_check(test, &walk, addr, phys, TRANS_PGD_WRITE, NULL);
	expect_check(test, &walk, addr, phys, TRANS_PGD_EXEC, "not executable");
	expect_check(test, &walk, addr, phys + PAGE_SIZE, TRANS_PGD_WRITE,
		     "mapped to another page");
	expect_check(test, &walk, addr + size - PAGE_SIZE,
		     phys + size - PAGE_SIZE, TRANS_PGD_READ, NULL);

	/* An address beside it is walked again, and the leaf is forgotten */
	put(test, t->live, addr - PAGE_SIZE, 3,
	    leaf(phys, 3, PAGE_KERNEL_RO));
	expect_check(test, &walk, addr + size, phys + size, TRANS_PGD_READ,
		     "not mapped");
	expect_check(test, &walk, addr, phys, TRANS_PGD_READ, "not mapped");
	expect_check(test, &walk, addr - PAGE_SIZE, phys, TRANS_PGD_READ, NULL);
	KUNIT_EXPECT_EQ(test, walk.base, addr - PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, walk.size, PAGE_SIZE);
	expect_check(test, &walk, addr - PAGE_SIZE, phys, TRANS_PGD_WRITE,
		     "read-only");
	expect_check(test, &walk, addr - 2 * PAGE_SIZE, phys - PAGE_SIZE,
		     TRANS_PGD_READ, "not mapped");
}

/* A check that passed holds for the leaf. A failed check holds for nothing. */
static void trans_pgd_check_holds(struct kunit *test)
{
	unsigned long addr = 3 * LEVEL_SIZE(2), last = LEVEL_SIZE(2) - 1;
	phys_addr_t phys = phys_of(LINEAR_START);
	struct trans_pgd_walk walk;

	walk = walk_with(test, addr, 2, leaf(phys, 2, PAGE_KERNEL));
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, 0));
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr));
	expect_check(test, &walk, addr + PAGE_SIZE, phys + PAGE_SIZE,
		     TRANS_PGD_WRITE, NULL);
	KUNIT_EXPECT_TRUE(test, trans_pgd_checked(&walk, addr));
	KUNIT_EXPECT_TRUE(test, trans_pgd_checked(&walk, addr + last));
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr + last + 1));
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr - 1));

	/* In the same leaf with different faults, and beside the leaf */
	expect_check(test, &walk, addr, phys, TRANS_PGD_EXEC, "not executable");
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr));
	expect_check(test, &walk, addr, phys, TRANS_PGD_READ, NULL);
	KUNIT_EXPECT_TRUE(test, trans_pgd_checked(&walk, addr));
	expect_check(test, &walk, addr, phys + PAGE_SIZE, TRANS_PGD_READ,
		     "mapped to another page");
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr));
	expect_check(test, &walk, addr, phys, TRANS_PGD_READ, NULL);
	expect_check(test, &walk, addr - PAGE_SIZE, phys - PAGE_SIZE,
		     TRANS_PGD_READ, "not mapped");
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr));
	KUNIT_EXPECT_FALSE(test, trans_pgd_checked(&walk, addr - PAGE_SIZE));
}

/* Code */

static void trans_pgd_copy_code_bytes(struct kunit *test)
{
	const size_t sizes[] = { 4, 128, SZ_2K, PAGE_SIZE - 4, PAGE_SIZE };
	u8 *code = new_page(test), *page = new_page(test);
	int i;

	prandom_bytes(code, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(page, 0xa5, PAGE_SIZE);
		trans_pgd_copy_code(page, code, sizes[i]);
		KUNIT_EXPECT_EQ(test, memcmp(page, code, sizes[i]), 0);
		KUNIT_EXPECT_PTR_EQ(test, memchr_inv(page + sizes[i], 0xa5,
						     PAGE_SIZE - sizes[i]),
				    NULL);
	}
}

static void trans_pgd_copy_el2_vectors_bytes(struct kunit *test)
{
	phys_addr_t vectors = UNTOUCHED;
	struct trans_pgd_test *t = test->priv;
	const u32 *have, *want = (const u32 *)trans_pgd_el2_vectors;

	KUNIT_ASSERT_EQ(test, 0, trans_pgd_copy_el2_vectors(&t->info,
							    &vectors));
	KUNIT_EXPECT_EQ(test, t->info.trans_nr_pages, 1U);
	KUNIT_EXPECT_EQ(test, offset_in_page(vectors), 0UL);
	have = page_address(list_first_entry(&t->taken, struct page, lru));
	KUNIT_EXPECT_EQ(test, virt_to_phys(have), vectors);
	KUNIT_EXPECT_EQ(test, memcmp(have, want, SZ_2K), 0);
	/* An instruction at each of the 16 vectors, and nothing after them */
	KUNIT_EXPECT_NE(test, have[SZ_2K / 4 - 32], 0U);
	KUNIT_EXPECT_PTR_EQ(test, memchr_inv(have + SZ_2K / 4, 0,
					     PAGE_SIZE - SZ_2K), NULL);
	give_back(test);
}

static int try_copy_el2_vectors(struct kunit *test, void *arg)
{
	struct trans_pgd_test *t = test->priv;
	phys_addr_t vectors = UNTOUCHED;
	int ret = trans_pgd_copy_el2_vectors(&t->info, &vectors);

	if (ret)
		KUNIT_EXPECT_EQ(test, vectors, (phys_addr_t)UNTOUCHED);
	return ret;
}

static void trans_pgd_copy_el2_vectors_no_memory(struct kunit *test)
{
	expect_no_memory(test, try_copy_el2_vectors, NULL);
}

static struct kunit_case trans_pgd_test_cases[] = {
	KUNIT_CASE(trans_pgd_map_page_low),
	KUNIT_CASE(trans_pgd_map_page_high),
	KUNIT_CASE(trans_pgd_map_page_top_of_range),
	KUNIT_CASE(trans_pgd_map_page_out_of_range),
	KUNIT_CASE(trans_pgd_map_page_no_memory),
	KUNIT_CASE(trans_pgd_idmap_one),
	KUNIT_CASE(trans_pgd_idmap_high),
	KUNIT_CASE(trans_pgd_idmap_out_of_reach),
	KUNIT_CASE(trans_pgd_idmap_no_memory),
	KUNIT_CASE(trans_pgd_copy_live_maps_memory),
	KUNIT_CASE(trans_pgd_copy_live_reaches_kernel),
	KUNIT_CASE(trans_pgd_copy_live_size),
	KUNIT_CASE(trans_pgd_copy_live_by_parts),
	KUNIT_CASE(trans_pgd_copy_live_no_memory),
	KUNIT_CASE(trans_pgd_copy_empty),
	KUNIT_CASE(trans_pgd_copy_page),
	KUNIT_CASE(trans_pgd_copy_read_only),
	KUNIT_CASE(trans_pgd_copy_keeps_attributes),
	KUNIT_CASE(trans_pgd_copy_invalid),
	KUNIT_CASE(trans_pgd_copy_crash_kernel),
	KUNIT_CASE(trans_pgd_copy_invalid_table),
	KUNIT_CASE(trans_pgd_copy_holes),
	KUNIT_CASE(trans_pgd_copy_full_table),
	KUNIT_CASE(trans_pgd_copy_odd_attribute),
	KUNIT_CASE(trans_pgd_copy_misplaced_table),
	KUNIT_CASE(trans_pgd_copy_contiguous),
	KUNIT_CASE(trans_pgd_copy_blocks),
	KUNIT_CASE(trans_pgd_copy_full_table_of_blocks),
	KUNIT_CASE(trans_pgd_copy_last_entry),
	KUNIT_CASE(trans_pgd_copy_one_range),
	KUNIT_CASE(trans_pgd_copy_ranges),
	KUNIT_CASE(trans_pgd_copy_ranges_nested),
	KUNIT_CASE(trans_pgd_copy_ranges_across),
	KUNIT_CASE(trans_pgd_copy_no_memory),
	KUNIT_CASE(trans_pgd_copy_range_again),
	KUNIT_CASE(trans_pgd_copy_part_of_page),
	KUNIT_CASE(trans_pgd_copy_part_alike),
	KUNIT_CASE(trans_pgd_copy_part_out_of_range),
	KUNIT_CASE(trans_pgd_copy_part_no_memory),
	KUNIT_CASE(trans_pgd_check_permissions),
	KUNIT_CASE(trans_pgd_check_attributes),
	KUNIT_CASE(trans_pgd_check_mapped),
	KUNIT_CASE(trans_pgd_check_range),
	KUNIT_CASE(trans_pgd_check_levels),
	KUNIT_CASE(trans_pgd_check_tables),
	KUNIT_CASE(trans_pgd_check_remembers),
	KUNIT_CASE(trans_pgd_check_holds),
	KUNIT_CASE(trans_pgd_copy_code_bytes),
	KUNIT_CASE(trans_pgd_copy_el2_vectors_bytes),
	KUNIT_CASE(trans_pgd_copy_el2_vectors_no_memory),
	{}
};

static struct kunit_suite trans_pgd_test_suite = {
	.name = "trans_pgd",
	.init = trans_pgd_test_init,
	.exit = trans_pgd_test_exit,
	.test_cases = trans_pgd_test_cases,
};

kunit_test_suite(trans_pgd_test_suite);
