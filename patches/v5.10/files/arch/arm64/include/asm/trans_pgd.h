/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transitional page tables: the MMU uses them while kexec or the resume from
 * hibernation overwrites memory. See Documentation/arm64/trans_pgd.rst.
 */
#ifndef __ASM_TRANS_PGD_H
#define __ASM_TRANS_PGD_H

#ifdef __ASSEMBLY__

#include <asm/assembler.h>

/*
 * break_before_make_ttbr_switch - change the tables that TTBR1_EL1 points to
 *
 * The old and the new tables translate the same addresses and differ at every
 * level, so the TLB must never hold entries of both. Switch to a page of zeroes
 * first, where nothing translates, and invalidate the TLB there. The caller
 * runs from a TTBR0 mapping. There is no access through TTBR1 until the end.
 *
 *	zero:	physical address of a page of zeroes, preserved
 *	pgd:	physical address of the new tables, preserved
 *	t0, t1:	scratch
 */
	.macro	break_before_make_ttbr_switch, zero, pgd, t0, t1
	phys_to_ttbr \t0, \zero
	offset_ttbr1 \t0, \t1
	msr	ttbr1_el1, \t0
	isb
	tlbi	vmalle1
	dsb	nsh
	isb
	phys_to_ttbr \t0, \pgd
	offset_ttbr1 \t0, \t1
	msr	ttbr1_el1, \t0
	isb
	.endm

#else /* !__ASSEMBLY__ */

#include <linux/mmu_context.h>
#include <linux/types.h>

#include <asm/pgtable-types.h>
#include <asm/sysreg.h>
#include <asm/tlbflush.h>

/**
 * struct trans_pgd_info - where the pages of the tables come from
 * @trans_alloc_page: returns the linear map address of one zeroed page that
 *		      nothing will overwrite, or NULL. The library does not
 *		      clear pages, and never frees one.
 * @trans_alloc_arg:  passed to @trans_alloc_page.
 * @trans_nr_pages:   pages taken so far, counted by the library.
 * @trans_nr_blocks:  block entries written so far, likewise.
 */
struct trans_pgd_info {
	void *(*trans_alloc_page)(void *arg);
	void *trans_alloc_arg;
	unsigned int trans_nr_pages;
	unsigned int trans_nr_blocks;
};

int trans_pgd_create_copy(struct trans_pgd_info *info, pgd_t **trans_pgd,
			  unsigned long start, unsigned long end);
int trans_pgd_copy_range(struct trans_pgd_info *info, pgd_t *trans_pgd,
			 unsigned long start, unsigned long end);

/* A part has the size of the largest block, see use_1G_block() */
#define TRANS_PGD_PART_SIZE	(PAGE_SHIFT == 12 ? PUD_SIZE : PMD_SIZE)

int trans_pgd_copy_part(struct trans_pgd_info *info, pgd_t *trans_pgd,
			unsigned long addr);

int trans_pgd_map_page(struct trans_pgd_info *info, pgd_t *trans_pgd,
		       void *page, unsigned long dst_addr, pgprot_t pgprot);

int trans_pgd_idmap_page(struct trans_pgd_info *info, phys_addr_t *ttbr0,
			 unsigned long *t0sz, void *page);

void trans_pgd_clean_code(void *page, size_t size);

void trans_pgd_copy_code(void *page, const void *code, size_t size);

/**
 * trans_pgd_enter() - jump to code that a transitional page table maps
 * @arg0: passed to the code in x0
 * @arg1: passed in x1
 * @arg2: passed in x2
 * @arg3: passed in x3
 * @arg4: passed in x4
 * @arg5: passed in x5
 * @code: address at which TTBR0 maps the code now
 *
 * A compiler's check of calls through pointers (CFI) does not see this jump.
 * @code has to be the address of the code itself. A tree whose CFI has jump
 * tables gets the address of a function by function_nocfi(). The caller has
 * interrupts off. This function does not return.
 */
void __noreturn trans_pgd_enter(unsigned long arg0, unsigned long arg1,
				unsigned long arg2, unsigned long arg3,
				unsigned long arg4, unsigned long arg5,
				unsigned long code);

int trans_pgd_copy_el2_vectors(struct trans_pgd_info *info,
			       phys_addr_t *el2_vectors);

/* How the hand-over uses a page */
enum trans_pgd_use {
	TRANS_PGD_READ,
	TRANS_PGD_WRITE,
	TRANS_PGD_EXEC,
};

/**
 * struct trans_pgd_walk - tables to check pages against
 * @pgd:     physical address of the table that the MMU starts at
 * @va_bits: bits of virtual address that the tables translate, 64 - TxSZ
 * @ttbr1:   whether the tables translate the upper range of addresses
 * @base:    first virtual address that the last leaf found maps
 * @good:    @size if the last check found nothing wrong, otherwise 0
 * @size:    bytes that this leaf maps; 0 before a leaf has been found
 * @desc:    this leaf
 */
struct trans_pgd_walk {
	phys_addr_t pgd;
	unsigned int va_bits;
	bool ttbr1;
	unsigned long base;
	unsigned long good;
	unsigned long size;
	pte_t desc;
};

const char *trans_pgd_check(struct trans_pgd_walk *walk, unsigned long addr,
			    phys_addr_t phys, enum trans_pgd_use use);

/**
 * trans_pgd_checked() - whether a check holds for another page
 * @walk: the tables
 * @addr: virtual address of the page
 *
 * A leaf maps all its pages with the same attributes, and to contiguous memory.
 * So the result of the last trans_pgd_check() of @walk also holds for another
 * page in the same leaf. The use of that page has to be the same, and so has
 * the offset from its virtual to its physical address.
 *
 * Return: true if the last check found nothing wrong and holds for the page.
 */
static inline bool trans_pgd_checked(const struct trans_pgd_walk *walk,
				     unsigned long addr)
{
	return addr - walk->base < walk->good;
}

/**
 * trans_pgd_walk_ttbr0() - check against a one-page map
 * @ttbr0: physical address of the top table
 * @t0sz:  TCR_EL1.T0SZ that goes with it
 *
 * Return: the tables, for trans_pgd_check().
 */
static inline struct trans_pgd_walk trans_pgd_walk_ttbr0(phys_addr_t ttbr0,
							 unsigned long t0sz)
{
	return (struct trans_pgd_walk) {
		.pgd = ttbr0,
		.va_bits = 64 - t0sz,
	};
}

/**
 * trans_pgd_walk_ttbr1() - check against a copy of the linear map
 * @ttbr1: physical address of the top table
 *
 * Return: the tables, for trans_pgd_check().
 */
static inline struct trans_pgd_walk trans_pgd_walk_ttbr1(phys_addr_t ttbr1)
{
#ifdef CONFIG_ARM64_VA_BITS_52
	/* as offset_ttbr1 */
	if (vabits_actual != 52)
		ttbr1 += TTBR1_BADDR_4852_OFFSET;
#endif
	return (struct trans_pgd_walk) {
		.pgd = ttbr1,
		.va_bits = vabits_actual,
		.ttbr1 = true,
	};
}

/**
 * cpu_install_ttbr0() - switch this CPU to a one-page map
 * @ttbr0: physical address of the top table
 * @t0sz:  TCR_EL1.T0SZ that goes with it
 *
 * User space cannot run on this CPU afterwards. The caller has preemption or
 * interrupts off and stays on the CPU.
 */
static inline void cpu_install_ttbr0(phys_addr_t ttbr0, unsigned long t0sz)
{
	u64 tcr = read_sysreg(tcr_el1) & ~TCR_T0SZ_MASK;

	/*
	 * The TLB may hold user translations of the same addresses, and the
	 * one page may be mapped global. So flush the TLB while nothing
	 * translates.
	 *
	 * __cpu_set_tcr_t0sz() cannot be used here. It writes T0SZ only if the
	 * kernel's own ID map is out of the default range.
	 */
	cpu_set_reserved_ttbr0();
	local_flush_tlb_all();
	write_sysreg(tcr | (t0sz << TCR_T0SZ_OFFSET), tcr_el1);
	isb();

	write_sysreg(phys_to_ttbr(ttbr0), ttbr0_el1);
	isb();
	post_ttbr_update_workaround();
}

#endif /* __ASSEMBLY__ */

#endif /* __ASM_TRANS_PGD_H */
