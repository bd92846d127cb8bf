/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages and page tables for the KUnit tests of the transitional page tables
 *
 * The library gets its pages from here. Each page can be refused, and all are
 * freed. Tables are made entry by entry, by index and shift, without the
 * kernel's page table helpers. So a wrong helper is not compared with itself.
 */
#ifndef __TRANS_PGD_TEST_H
#define __TRANS_PGD_TEST_H

#include <kunit/test.h>

#include <linux/ioport.h>
#include <linux/irqflags.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

#include <asm/memory.h>
#include <asm/trans_pgd.h>

#define LEVEL_SHIFT(level)	ARM64_HW_PGTABLE_LEVEL_SHIFT(level)
#define LEVEL_SIZE(level)	BIT_ULL(LEVEL_SHIFT(level))
#define TOP_LEVEL(va_bits)	(4 - (int)ARM64_HW_PGTABLE_LEVELS(va_bits))
#define ENTRIES			PTRS_PER_PTE
#define LINEAR_START		_PAGE_OFFSET(vabits_actual)
/* A value that no function sets an out-parameter to */
#define UNTOUCHED		0x5a5a5a5a5a5aUL

/**
 * struct trans_pgd_test - the state of a test case
 * @info:    for the library, with test_alloc_page()
 * @taken:   pages that the library has taken
 * @spare:   pages to hand out before others are allocated
 * @own:     pages of the test's own tables and code
 * @calls:   number of calls of test_alloc_page()
 * @fail_at: the call that returns NULL; 0 for none
 * @crash:   crash kernel's range to change while the machine is stopped, or NULL
 * @range:   the range to change @crash to
 * @live:    the top table that the library takes for the live one
 * @want:    the expected copy of @live, if the case makes one
 */
struct trans_pgd_test {
	struct trans_pgd_info info;
	struct list_head taken;
	struct list_head spare;
	struct list_head own;
	unsigned int calls;
	unsigned int fail_at;
	struct resource *crash;
	struct resource range;
	u64 *live;
	u64 *want;
};

/* While the machine is stopped, only spare pages can be had. */
static void *test_alloc_page(void *arg)
{
	struct trans_pgd_test *t = arg;
	struct page *page;

	if (++t->calls == t->fail_at)
		return NULL;

	page = list_first_entry_or_null(&t->spare, struct page, lru);
	if (page)
		list_del(&page->lru);
	else if (!irqs_disabled())
		page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return NULL;

	list_add_tail(&page->lru, &t->taken);
	return page_address(page);
}

static unsigned int free_all(struct list_head *pages)
{
	struct page *page, *next;
	unsigned int nr = 0;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_page(page);
		nr++;
	}

	return nr;
}

static void *add_page(struct kunit *test, struct list_head *list)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	list_add_tail(&page->lru, list);
	return page_address(page);
}

static void *new_page(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;

	return add_page(test, &t->own);
}

/* Pages for the library to take while the machine is stopped */
static void add_spare(struct kunit *test, unsigned int nr)
{
	struct trans_pgd_test *t = test->priv;

	while (nr--)
		add_page(test, &t->spare);
}

static int trans_pgd_test_init(struct kunit *test)
{
	struct trans_pgd_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	/* exit() looks at this pointer even if the allocation failed */
	test->priv = t;
	if (!t)
		return -ENOMEM;

	INIT_LIST_HEAD(&t->taken);
	INIT_LIST_HEAD(&t->spare);
	INIT_LIST_HEAD(&t->own);
	t->info.trans_alloc_page = test_alloc_page;
	t->info.trans_alloc_arg = t;
	return 0;
}

static void trans_pgd_test_exit(struct kunit *test)
{
	struct trans_pgd_test *t = test->priv;

	if (!t)
		return;
	free_all(&t->taken);
	free_all(&t->spare);
	free_all(&t->own);
}

/* Free @taken, and reset the counts of the library and of the case. */
static unsigned int give_back(struct kunit *test);

/*
 * Repeat a call with the first page refused, then the second, and so on until
 * it succeeds. A call that fails has to fail at once, with -ENOMEM. @call
 * itself checks that nothing of the caller is touched then.
 */
static void expect_no_memory(struct kunit *test,
			     int (*call)(struct kunit *test, void *arg),
			     void *arg)
{
	struct trans_pgd_test *t = test->priv;
	unsigned int n = 0;
	int ret;

	do {
		t->fail_at = ++n;
		ret = call(test, arg);
		if (ret) {
			KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
			KUNIT_EXPECT_EQ(test, t->calls, n);
		}
		KUNIT_EXPECT_EQ(test, give_back(test), n - 1);
	} while (ret == -ENOMEM && n < 10000);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_GT(test, n, 1U);
}

static bool is_table(u64 desc, int level)
{
	return level < 3 && (desc & PTE_TYPE_MASK) == PTE_TYPE_PAGE;
}

static u64 *table_of(u64 desc)
{
	return phys_to_virt(__pte_to_phys(__pte(desc)));
}

/* The entry for an address at a level. Missing tables above it are made. */
static u64 *entry_at(struct kunit *test, u64 *table, unsigned int va_bits,
		     unsigned long addr, int level)
{
	int at = TOP_LEVEL(va_bits);
	unsigned int i;

	for (addr &= GENMASK_ULL(va_bits - 1, 0);; at++) {
		i = addr >> LEVEL_SHIFT(at);
		if (at != TOP_LEVEL(va_bits))
			i %= ENTRIES;
		if (at == level)
			return table + i;
		if (!table[i])
			table[i] = __phys_to_pte_val(virt_to_phys(new_page(test))) |
				   PTE_TYPE_PAGE;
		KUNIT_ASSERT_TRUE(test, is_table(table[i], at));
		table = table_of(table[i]);
	}
}

/* An entry of a page or a block, as the kernel makes them */
static u64 leaf(phys_addr_t phys, int level, pgprot_t prot)
{
	u64 desc = __phys_to_pte_val(phys) | pgprot_val(prot);

	return level == 3 ? desc : desc & ~(u64)(PTE_TYPE_MASK & ~PTE_VALID);
}

#endif /* __TRANS_PGD_TEST_H */
