// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transitional page tables
 *
 * kexec and the resume from hibernation overwrite memory, the page tables
 * included. Meanwhile the CPU uses the tables made here, in pages that nothing
 * overwrites: TTBR0 maps one page of code, and TTBR1 has a copy of the linear
 * map.
 *
 * The pages belong to the caller's allocator, whether a function succeeds or
 * fails. Nothing is freed here. The caller frees all pages at once, together
 * with its other pages.
 *
 * Nothing is locked here. Both callers use the linear map as it is at that
 * time. The tables hold physical addresses and do not follow later changes of
 * the linear map.
 */
#define pr_fmt(fmt) "trans_pgd: " fmt

#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/string.h>

#include <asm/cacheflush.h>
#include <asm/cpufeature.h>
#include <asm/memory.h>
#include <asm/pgalloc.h>
#include <asm/sysreg.h>
#include <asm/trans_pgd.h>
#include <asm/virt.h>

/* In trans_pgd-asm.S: one vector table that needs nothing outside itself */
extern const char trans_pgd_el2_vectors[SZ_2K];

static void *trans_alloc(struct trans_pgd_info *info)
{
	void *page = info->trans_alloc_page(info->trans_alloc_arg);

	if (page)
		info->trans_nr_pages++;
	return page;
}

/*
 * A copied entry is writable, because the copy exists to overwrite memory.
 * Clearing PTE_RDONLY is enough for that. PTE_WRITE is set too, so that pages
 * that were read-only have entries like all others. The contiguous hint is
 * cleared, because the neighbours may not be in the copy.
 */
static pteval_t trans_leaf(pteval_t val)
{
	return (val | PTE_WRITE) & ~(PTE_RDONLY | PTE_CONT);
}

#ifdef CONFIG_KEXEC_CORE
static bool in_resource(const struct resource *res, phys_addr_t addr)
{
	return res->end && addr >= res->start && addr <= res->end;
}

/* Whether the memory at @addr is set aside for a crash kernel. */
static bool is_crash_memory(phys_addr_t addr)
{
	return in_resource(&crashk_res, addr) ||
	       in_resource(&crashk_low_res, addr);
}
#else
static bool is_crash_memory(phys_addr_t addr)
{
	return false;
}
#endif

/*
 * Whether the kernel may hide single pages of the linear map. The entry of a
 * hidden page is invalid but not none. With rodata=full, vfree() hides what it
 * is about to free. debug_pagealloc hides free pages. KFENCE, in a kernel that
 * has it, hides guard pages and freed objects.
 */
static bool may_hide_pages(void)
{
	return rodata_full || debug_pagealloc_enabled() ||
	       IS_ENABLED(CONFIG_KFENCE);
}

/* The copy's entry for an entry of the linear map, empty if it stays out. */
static pte_t trans_pte(pte_t pte)
{
	if (pte_valid(pte))
		return __pte(trans_leaf(pte_val(pte)));

	/*
	 * The hand-over may have to read or overwrite a hidden page, so its
	 * entry is in the copy. The code that hid the page does not run any
	 * more by then. The page has to be memory, and the kernel has to have a
	 * reason to hide pages.
	 *
	 * A loaded crash kernel is hidden too, so that nothing overwrites it.
	 * It stays out of the copy, because no image may be loaded over it.
	 */
	if (!pte_none(pte) && may_hide_pages() && pfn_valid(pte_pfn(pte)) &&
	    !is_crash_memory(__pte_to_phys(pte)))
		return pte_mkpresent(__pte(trans_leaf(pte_val(pte))));

	return __pte(0);
}

/* The bits in which eight entries differ from @want and its seven successors */
static inline pteval_t differ(pte_t *src, pteval_t want)
{
	return (pte_val(READ_ONCE(src[0])) ^ want) |
	       (pte_val(READ_ONCE(src[1])) ^ (want + PAGE_SIZE)) |
	       (pte_val(READ_ONCE(src[2])) ^ (want + 2 * PAGE_SIZE)) |
	       (pte_val(READ_ONCE(src[3])) ^ (want + 3 * PAGE_SIZE)) |
	       (pte_val(READ_ONCE(src[4])) ^ (want + 4 * PAGE_SIZE)) |
	       (pte_val(READ_ONCE(src[5])) ^ (want + 5 * PAGE_SIZE)) |
	       (pte_val(READ_ONCE(src[6])) ^ (want + 6 * PAGE_SIZE)) |
	       (pte_val(READ_ONCE(src[7])) ^ (want + 7 * PAGE_SIZE));
}

/* Entries that are compared at a time. A table has a multiple of it. */
#define NR_AT_ONCE	32

/*
 * Whether the copies of NR_AT_ONCE entries in a row are @want and its
 * successors. Nearly all entries have these values already. So compare all of
 * them first, without a branch for each. This comparison is most of the work of
 * copying a part.
 */
static bool become(pte_t *src, pteval_t want)
{
	pte_t *end = src + NR_AT_ONCE;

	if (!(differ(src, want) |
	      differ(src + 8, want + 8 * PAGE_SIZE) |
	      differ(src + 16, want + 16 * PAGE_SIZE) |
	      differ(src + 24, want + 24 * PAGE_SIZE)))
		return true;

	for (; src < end; src++, want += PAGE_SIZE) {
		if (pte_val(trans_pte(READ_ONCE(*src))) != want)
			return false;
	}

	return true;
}

/*
 * Most of the linear map is uniform: the copies of all entries of a table would
 * map memory that is contiguous, aligned to what the table spans, and the same
 * in every attribute. One block entry replaces such a table, so the copy of a
 * large machine takes a few pages. The *_as_block() functions return the entry
 * that replaces everything below, or 0 if anything differs.
 *
 * These functions add sizes to descriptors. With 52-bit PA, the top bits of the
 * address are in low bits of the descriptor. The start is aligned to a block,
 * so no sum carries into the top bits.
 */
static pteval_t ptes_as_block(pmd_t *src_pmdp, unsigned long addr)
{
	pte_t *src = pte_offset_kernel(src_pmdp, addr & PMD_MASK);
	pteval_t want = pte_val(trans_pte(READ_ONCE(*src)));
	pteval_t block = want & ~PTE_TABLE_BIT;
	pte_t *end = src + PTRS_PER_PTE;

	if (!IS_ALIGNED(__pte_to_phys(__pte(want)), PMD_SIZE))
		return 0;

	for (; src < end; src += NR_AT_ONCE, want += NR_AT_ONCE * PAGE_SIZE) {
		if (!become(src, want))
			return 0;
	}

	return block;
}

static pteval_t pmd_as_block(pmd_t *src_pmdp, unsigned long addr)
{
	pmd_t pmd = READ_ONCE(*src_pmdp);

	if (pmd_table(pmd))
		return ptes_as_block(src_pmdp, addr);
	return pmd_sect(pmd) ? trans_leaf(pmd_val(pmd)) : 0;
}

static pteval_t pud_as_block(pud_t *src_pudp, unsigned long addr)
{
	pud_t pud = READ_ONCE(*src_pudp);
	pteval_t block, want;
	pmd_t *src, *end;

	if (pud_sect(pud))
		return trans_leaf(pud_val(pud));

	/* Only 4K pages have blocks at this level, see use_1G_block() */
	if (PAGE_SHIFT != 12)
		return 0;

	src = pmd_offset(src_pudp, addr & PUD_MASK);
	end = src + PTRS_PER_PMD;
	block = pmd_as_block(src, addr);
	if (!block || !IS_ALIGNED(__pte_to_phys(__pte(block)), PUD_SIZE))
		return 0;

	for (want = block; src < end; src++, want += PMD_SIZE) {
		if (pmd_as_block(src, addr) != want)
			return 0;
	}

	return block;
}

static int copy_ptes(struct trans_pgd_info *info, pmd_t *dst_pmdp,
		     pmd_t *src_pmdp, unsigned long addr, unsigned long end)
{
	pte_t *src = pte_offset_kernel(src_pmdp, addr);
	pte_t *table;

	for (; addr < end; addr += PAGE_SIZE, src++) {
		pte_t pte = trans_pte(READ_ONCE(*src));

		if (pte_none(pte))
			continue;

		/* A hole gets no table. A crash kernel can leave large ones. */
		if (pmd_none(READ_ONCE(*dst_pmdp))) {
			table = trans_alloc(info);
			if (!table)
				return -ENOMEM;
			pmd_populate_kernel(&init_mm, dst_pmdp, table);
		}
		set_pte(pte_offset_kernel(dst_pmdp, addr), pte);
	}

	return 0;
}

static int copy_pmds(struct trans_pgd_info *info, pud_t *dst_pudp,
		     pud_t *src_pudp, unsigned long addr, unsigned long end)
{
	unsigned long next;
	pmd_t *dst, *src;
	int ret;

	if (pud_none(READ_ONCE(*dst_pudp))) {
		pmd_t *table = trans_alloc(info);

		if (!table)
			return -ENOMEM;
		pud_populate(&init_mm, dst_pudp, table);
	}

	dst = pmd_offset(dst_pudp, addr);
	src = pmd_offset(src_pudp, addr);
	for (; addr < end; addr = next, dst++, src++) {
		pmd_t pmd = READ_ONCE(*src);
		pteval_t block = 0;

		next = pmd_addr_end(addr, end);
		/* Nothing to copy, or an earlier range made it a block */
		if (pmd_none(pmd) || pmd_sect(READ_ONCE(*dst)))
			continue;
		/* If an earlier range has made a table, fill that table */
		if (pmd_sect(pmd) || (next - addr == PMD_SIZE &&
				      pmd_none(READ_ONCE(*dst))))
			block = pmd_as_block(src, addr);
		if (block) {
			set_pmd(dst, __pmd(block));
			info->trans_nr_blocks++;
			continue;
		}
		ret = copy_ptes(info, dst, src, addr, next);
		if (ret)
			return ret;
	}

	return 0;
}

static int copy_puds(struct trans_pgd_info *info, p4d_t *dst_p4dp,
		     p4d_t *src_p4dp, unsigned long addr, unsigned long end)
{
	unsigned long next;
	pud_t *dst, *src;
	int ret;

	if (p4d_none(READ_ONCE(*dst_p4dp))) {
		pud_t *table = trans_alloc(info);

		if (!table)
			return -ENOMEM;
		p4d_populate(&init_mm, dst_p4dp, table);
	}

	dst = pud_offset(dst_p4dp, addr);
	src = pud_offset(src_p4dp, addr);
	for (; addr < end; addr = next, dst++, src++) {
		pud_t pud = READ_ONCE(*src);
		pteval_t block = 0;

		next = pud_addr_end(addr, end);
		if (pud_none(pud) || pud_sect(READ_ONCE(*dst)))
			continue;

		/* There may be hundreds. A resume has interrupts off. */
		if (!irqs_disabled())
			cond_resched();

		if (pud_sect(pud) || (next - addr == PUD_SIZE &&
				      pud_none(READ_ONCE(*dst))))
			block = pud_as_block(src, addr);
		if (block) {
			set_pud(dst, __pud(block));
			info->trans_nr_blocks++;
			continue;
		}
		ret = copy_pmds(info, dst, src, addr, next);
		if (ret)
			return ret;
	}

	return 0;
}

static int copy_p4ds(struct trans_pgd_info *info, pgd_t *trans_pgd,
		     unsigned long start, unsigned long end)
{
	unsigned long addr, next;
	int ret;

	/* p4d is always folded into pgd, so one loop is enough for both */
	for (addr = start; addr < end; addr = next) {
		p4d_t *src = p4d_offset(pgd_offset_k(addr), addr);
		p4d_t *dst = p4d_offset(pgd_offset_pgd(trans_pgd, addr), addr);

		next = pgd_addr_end(addr, end);
		if (p4d_none(READ_ONCE(*src)))
			continue;
		ret = copy_puds(info, dst, src, addr, next);
		if (ret)
			return ret;
	}

	return 0;
}

/**
 * trans_pgd_create_copy() - copy a range of the linear map
 * @info:	allocator of the tables' pages
 * @trans_pgd:	set to the top table of the copy (linear map address), for TTBR1
 * @start:	first virtual address to copy, page aligned
 * @end:	end of the range (exclusive), page aligned. If it equals @start,
 *		the copy maps nothing so far, see trans_pgd_copy_part()
 *
 * The copy maps memory at its usual linear map address, writable and not
 * executable. This includes read-only text and data. It includes pages that the
 * kernel hides for now, except for the memory of a crash kernel. The copy does
 * not map what the linear map does not map.
 *
 * If all that a table maps is alike, the copy has one block entry for it. So
 * the size of the copy depends on how fragmented the memory is, and not on how
 * much memory there is. A block of the linear map is copied whole, even if the
 * range ends inside it.
 *
 * The live tables are read once and without a lock. The caller has to make sure
 * that no memory is removed meanwhile.
 *
 * Return: 0, or -ENOMEM with @trans_pgd untouched. The pages belong to the
 * allocator either way.
 */
int trans_pgd_create_copy(struct trans_pgd_info *info, pgd_t **trans_pgd,
			  unsigned long start, unsigned long end)
{
	pgd_t *pgd = trans_alloc(info);
	int ret;

	if (!pgd)
		return -ENOMEM;
	ret = copy_p4ds(info, pgd, start, end);
	if (ret)
		return ret;

	pr_debug("copy of the linear map from %#lx to %#lx: %u table pages, %u blocks\n",
		 start, end, info->trans_nr_pages, info->trans_nr_blocks);
	*trans_pgd = pgd;
	return 0;
}

/**
 * trans_pgd_copy_range() - add a range of the linear map to a copy
 * @info:	allocator of the tables' pages
 * @trans_pgd:	top table of the copy, from trans_pgd_create_copy()
 * @start:	first virtual address to copy, page aligned
 * @end:	end of the range (exclusive), page aligned
 *
 * This works as trans_pgd_create_copy() does. Ranges of a copy may adjoin,
 * overlap or be the same. Memory that is copied in pieces may take a table
 * where it would become a block in one range.
 *
 * Return: 0, or -ENOMEM. After -ENOMEM the copy still maps all that it mapped
 * before, and may map some of the range. The pages belong to the allocator
 * either way.
 */
int trans_pgd_copy_range(struct trans_pgd_info *info, pgd_t *trans_pgd,
			 unsigned long start, unsigned long end)
{
	int ret = copy_p4ds(info, trans_pgd, start, end);

	if (!ret)
		pr_debug("more of the linear map from %#lx to %#lx: %u table pages, %u blocks\n",
			 start, end, info->trans_nr_pages,
			 info->trans_nr_blocks);
	return ret;
}

/* Whether a part has been copied. May be false for a part that maps nothing. */
static bool has_part(pgd_t *pgd, unsigned long addr)
{
	p4d_t *p4dp = p4d_offset(pgd_offset_pgd(pgd, addr), addr);
	pud_t *pudp;

	if (p4d_none(READ_ONCE(*p4dp)))
		return false;
	pudp = pud_offset(p4dp, addr);
	if (pud_none(READ_ONCE(*pudp)))
		return false;
	/* This entry spans a part with 4K pages, otherwise one a level below */
	if (PAGE_SHIFT == 12)
		return true;
	return !pmd_none(READ_ONCE(*pmd_offset(pudp, addr)));
}

/**
 * trans_pgd_copy_part() - copy the part of the linear map that a page is in
 * @info:	allocator of the tables' pages
 * @trans_pgd:	top table of the copy, from trans_pgd_create_copy()
 * @addr:	linear map address of the page
 *
 * A part is TRANS_PGD_PART_SIZE bytes. That is the size of the largest block
 * that can replace tables of pages. So a part is looked through once, as a
 * whole. Nothing is done if the copy already has the part, or if @addr is not
 * in the linear map. trans_pgd_check() tells whether the copy reaches the page.
 *
 * Return: 0, or -ENOMEM as trans_pgd_copy_range() does.
 */
int trans_pgd_copy_part(struct trans_pgd_info *info, pgd_t *trans_pgd,
			unsigned long addr)
{
	unsigned long start;

	/* Ignore KASAN's tags, as the MMU does */
	addr = (unsigned long)__tag_reset(addr);
	if (addr < _PAGE_OFFSET(vabits_actual) || addr >= PAGE_END ||
	    has_part(trans_pgd, addr))
		return 0;

	start = round_down(addr, TRANS_PGD_PART_SIZE);
	return trans_pgd_copy_range(info, trans_pgd, start,
				    start + TRANS_PGD_PART_SIZE);
}

/* Make the tables below one empty entry of a top table, and map the page. */
static int map_below(struct trans_pgd_info *info, pgd_t *pgdp, void *page,
		     unsigned long addr, pgprot_t prot)
{
	p4d_t *p4dp = p4d_offset(pgdp, addr);
	pud_t *pudp;
	pmd_t *pmdp;
	void *table;

	/* A folded level is never none, so nothing is allocated for it */
	if (p4d_none(READ_ONCE(*p4dp))) {
		table = trans_alloc(info);
		if (!table)
			return -ENOMEM;
		p4d_populate(&init_mm, p4dp, table);
	}

	pudp = pud_offset(p4dp, addr);
	if (pud_none(READ_ONCE(*pudp))) {
		table = trans_alloc(info);
		if (!table)
			return -ENOMEM;
		pud_populate(&init_mm, pudp, table);
	}

	pmdp = pmd_offset(pudp, addr);
	table = trans_alloc(info);
	if (!table)
		return -ENOMEM;
	pmd_populate_kernel(&init_mm, pmdp, table);

	set_pte(pte_offset_kernel(pmdp, addr),
		pfn_pte(virt_to_pfn(page), prot));
	return 0;
}

/**
 * trans_pgd_map_page() - map exactly one page
 * @info:	allocator of the tables' pages
 * @trans_pgd:	top table to map it in (linear map address), still empty
 * @page:	linear map address of the page
 * @dst_addr:	virtual address to map it at, a TTBR0 address
 * @pgprot:	how to map it
 *
 * Return: 0, -ENOMEM, or -ERANGE if @dst_addr is above what the top table
 * spans. See trans_pgd_idmap_page() for such an address. The pages belong to
 * the allocator in any case.
 */
int trans_pgd_map_page(struct trans_pgd_info *info, pgd_t *trans_pgd,
		       void *page, unsigned long dst_addr, pgprot_t pgprot)
{
	if (dst_addr >> vabits_actual)
		return -ERANGE;

	return map_below(info, pgd_offset_pgd(trans_pgd, dst_addr), page,
			 dst_addr, pgprot);
}

/* The largest number of VA bits that TTBR0 can translate. */
static unsigned int max_va_bits(void)
{
	u64 mmfr2 = read_sanitised_ftr_reg(SYS_ID_AA64MMFR2_EL1);

	if (IS_ENABLED(CONFIG_ARM64_64K_PAGES) &&
	    cpuid_feature_extract_unsigned_field(mmfr2,
						 ID_AA64MMFR2_LVA_SHIFT))
		return 52;
	return 48;
}

/* Address bits that one table resolves, and that a full top table spans */
#define INDEX_BITS	(PAGE_SHIFT - 3)
#define EXTENDED_SHIFT	(PGDIR_SHIFT + INDEX_BITS)

/*
 * The entry of *@pgd for an address that may be above the kernel's VA range.
 *
 * pgd_offset_pgd() cannot be used here. It masks the index to the usual size of
 * the table, and would return the entry of another address.
 *
 * If the page of the table has room, use the full index. T0SZ makes the
 * hardware use as much of the page. If the table is full, put it below an entry
 * of a new table, which becomes *@pgd. A table descriptor is the same at every
 * level, so the helper of the lowest level writes it.
 *
 * Returns NULL if no page for the new table can be allocated.
 */
static pgd_t *extended_pgd_offset(struct trans_pgd_info *info, pgd_t **pgd,
				  phys_addr_t addr)
{
	pgd_t *table = *pgd;

	if (addr >> EXTENDED_SHIFT) {
		*pgd = trans_alloc(info);
		if (!*pgd)
			return NULL;
		pmd_populate_kernel(&init_mm,
				    (pmd_t *)(*pgd + (addr >> EXTENDED_SHIFT)),
				    (pte_t *)table);
		addr &= GENMASK_ULL(EXTENDED_SHIFT - 1, 0);
	}

	return table + (addr >> PGDIR_SHIFT);
}

/**
 * trans_pgd_idmap_page() - map one page of code at its physical address
 * @info:	allocator of the tables' pages
 * @ttbr0:	set to the physical address of the top table
 * @t0sz:	set to the TCR_EL1.T0SZ that goes with it
 * @page:	linear map address of the page
 *
 * The page is mapped executable and read-only. Its virtual address in TTBR0
 * equals its physical address, so the code goes on when the MMU is switched
 * off. cpu_install_ttbr0() takes @ttbr0 and @t0sz.
 *
 * Return: 0, -ENOMEM, or -EADDRNOTAVAIL if the page cannot be mapped at its
 * physical address. That address is then above what the MMU translates, or
 * above what one level of tables more than the kernel's can map. @ttbr0 and
 * @t0sz are untouched on error. The pages belong to the allocator in any case.
 */
int trans_pgd_idmap_page(struct trans_pgd_info *info, phys_addr_t *ttbr0,
			 unsigned long *t0sz, void *page)
{
	phys_addr_t addr = virt_to_phys(page);
	unsigned int bits = max_t(unsigned int, fls64(addr), vabits_actual);
	pgd_t *pgd, *pgdp;
	int ret;

	if (bits > max_va_bits() || addr >> EXTENDED_SHIFT >> INDEX_BITS) {
		pr_err("code page at %pa is too high to be mapped at its own address\n",
		       &addr);
		return -EADDRNOTAVAIL;
	}

	pgd = trans_alloc(info);
	if (!pgd)
		return -ENOMEM;

	pgdp = extended_pgd_offset(info, &pgd, addr);
	if (!pgdp)
		return -ENOMEM;

	ret = map_below(info, pgdp, page, addr, PAGE_KERNEL_ROX);
	if (ret)
		return ret;

	*ttbr0 = virt_to_phys(pgd);
	*t0sz = TCR_T0SZ(bits);
	return 0;
}

/**
 * trans_pgd_clean_code() - make code visible to instruction fetches
 * @page:	linear map address of the code
 * @size:	its size in bytes
 *
 * Afterwards the code can be fetched through any mapping, with the MMU on or
 * off. No IPI is sent, because the other CPUs may have been stopped. A CPU has
 * to take a context synchronization event before it executes the code.
 */
void trans_pgd_clean_code(void *page, size_t size)
{
	/* Clean to the PoC: with the MMU off, code is fetched from there */
	__flush_dcache_area(page, size);
	/* Invalidate all aliases: it does not run at its linear map address */
	sync_icache_aliases(page, size);
}

/**
 * trans_pgd_copy_code() - put code where it runs while memory is overwritten
 * @page:	linear map address of the page that it will run from
 * @code:	position independent code
 * @size:	its size in bytes, at most a page
 *
 * The copy can be fetched as trans_pgd_clean_code() says.
 */
void trans_pgd_copy_code(void *page, const void *code, size_t size)
{
	memcpy(page, code, size);
	trans_pgd_clean_code(page, size);
}

/**
 * trans_pgd_copy_el2_vectors() - EL2 vectors that nothing overwrites
 * @info:		allocator of the page
 * @el2_vectors:	set to their physical address
 *
 * This is for a kernel that was booted at EL2 and runs at EL1. The vectors
 * implement HVC_SET_VECTORS and HVC_SOFT_RESTART as the hyp-stub does. EL2 runs
 * with its MMU off, so the vectors are cleaned to the PoC. The caller installs
 * them with __hyp_set_vectors().
 *
 * Return: 0, or -ENOMEM with @el2_vectors untouched. The page belongs to the
 * allocator.
 */
int trans_pgd_copy_el2_vectors(struct trans_pgd_info *info,
			       phys_addr_t *el2_vectors)
{
	void *page = trans_alloc(info);

	if (!page)
		return -ENOMEM;

	trans_pgd_copy_code(page, trans_pgd_el2_vectors,
			    sizeof(trans_pgd_el2_vectors));
	*el2_vectors = virt_to_phys(page);
	return 0;
}

/*
 * Find the leaf that the MMU would find for @addr, or return why it would
 * fault.
 *
 * This does not use the kernel's page table helpers, on purpose. It walks as
 * the hardware does, from the level that TxSZ selects. So it finds what the
 * helpers have really made, including an extended top level.
 */
static const char *walk_to_leaf(struct trans_pgd_walk *walk, unsigned long addr)
{
	unsigned long top = walk->ttbr1 ? ~addr : addr;
	int level = 4 - ARM64_HW_PGTABLE_LEVELS(walk->va_bits);
	unsigned int shift, bits = walk->va_bits;
	phys_addr_t table = walk->pgd;
	pte_t desc;

	walk->size = 0;
	if (top >> walk->va_bits)
		return "not in the range of the tables";

	for (;; level++, bits = shift) {
		u64 *entry = phys_to_virt(table);

		shift = ARM64_HW_PGTABLE_LEVEL_SHIFT(level);
		entry += (addr & GENMASK_ULL(bits - 1, 0)) >> shift;
		desc = __pte(READ_ONCE(*entry));

		if (!pte_valid(desc))
			return "not mapped";
		if (level == 3 || !(pte_val(desc) & PTE_TABLE_BIT))
			break;
		/* APTable, XNTable and PXNTable restrict everything below */
		if (pte_val(desc) & GENMASK_ULL(62, 59))
			return "below a table with restrictions";
		table = __pte_to_phys(desc);
	}

	/* Level 2 has blocks, and with 4K pages level 1 too */
	if (level == 3 ? !(pte_val(desc) & PTE_TABLE_BIT) :
			 level != 2 && !(level == 1 && PAGE_SHIFT == 12))
		return "mapped by an entry that the level does not have";

	walk->base = addr & ~GENMASK_ULL(shift - 1, 0);
	walk->size = BIT_ULL(shift);
	walk->desc = desc;
	return NULL;
}

/**
 * trans_pgd_check() - see that a page can be used through the tables
 * @walk:	the tables, see trans_pgd_walk_ttbr0() and trans_pgd_walk_ttbr1()
 * @addr:	virtual address of the page
 * @phys:	its physical address
 * @use:	TRANS_PGD_READ, TRANS_PGD_WRITE or TRANS_PGD_EXEC
 *
 * The page is looked up as the MMU does it. It has to be mapped to @phys as
 * Normal cacheable memory. It has to be writable if @use is TRANS_PGD_WRITE,
 * and executable if and only if @use is TRANS_PGD_EXEC.
 *
 * The last entry found is kept in @walk, so checks in the same block do not
 * walk again. After a check that found nothing wrong, trans_pgd_checked() tells
 * which other pages need no check of their own.
 *
 * Return: NULL if nothing is wrong, or what is wrong, in words for the log.
 */
const char *trans_pgd_check(struct trans_pgd_walk *walk, unsigned long addr,
			    phys_addr_t phys, enum trans_pgd_use use)
{
	bool exec = use == TRANS_PGD_EXEC;
	pteval_t val;

	walk->good = 0;

	/* Ignore KASAN's tags, as the MMU does */
	addr = (unsigned long)__tag_reset(addr);

	if (addr - walk->base >= walk->size) {
		const char *why = walk_to_leaf(walk, addr);

		if (why)
			return why;
	}

	val = pte_val(walk->desc);
	if (phys != __pte_to_phys(walk->desc) + (addr - walk->base))
		return "mapped to another page";
	if (!(val & PTE_AF) || (val & PTE_USER))
		return "not accessible";
	if ((val & PTE_ATTRINDX_MASK) != PTE_ATTRINDX(MT_NORMAL) &&
	    (val & PTE_ATTRINDX_MASK) != PTE_ATTRINDX(MT_NORMAL_TAGGED))
		return "not Normal cacheable memory";
	if (use == TRANS_PGD_WRITE && (val & PTE_RDONLY))
		return "read-only";
	if (!(val & PTE_PXN) != exec)
		return exec ? "not executable" : "executable";

	walk->good = walk->size;
	return NULL;
}
