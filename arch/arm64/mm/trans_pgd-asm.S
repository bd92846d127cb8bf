/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transitional page tables: the jump into the page that TTBR0 maps, and EL2
 * vectors for the time in which memory is overwritten.
 */
#include <linux/linkage.h>

#include <asm/assembler.h>
#include <asm/virt.h>

/*
 * trans_pgd_enter - jump to code that a transitional page table maps
 *
 *	x0 to x5: what the code gets in the same registers
 *	x6: address of the code, not a function of the kernel
 *
 * A call through a pointer would do, but for compilers that check such calls
 * (CFI). They look for the type of a function in front of it, or for its address
 * in a table, and the copy of the code in a page of its own has neither.
 */
SYM_FUNC_START(trans_pgd_enter)
	br	x6				// no return
SYM_FUNC_END(trans_pgd_enter)

/*
 * A kernel that runs at EL1 and was booted at EL2 leaves the hyp-stub there.
 * Its text goes when memory is overwritten, so these vectors, in a page of
 * their own, stand in for it. They speak the hyp-stub's protocol, but for
 * HVC_RESET_VECTORS: there is nothing to go back to.
 *
 * Every handler fits into its slot of the table. So the table is all there is,
 * runs wherever it is copied to and needs no data. EL2 has its MMU off.
 */
	.macro	unexpected
	.align	7
	b	.
	.endm

	.pushsection	".rodata", "a"
	.align	11
SYM_CODE_START(trans_pgd_el2_vectors)
	.rept	8			// EL2t and EL2h
	unexpected
	.endr

	.align	7			// Synchronous 64-bit EL1
	cmp	x0, #HVC_SOFT_RESTART
	b.eq	.Lsoft_restart
	cmp	x0, #HVC_SET_VECTORS
	b.eq	.Lset_vectors
	mov_q	x0, HVC_STUB_ERR
	eret

	/* x1: physical address of the vectors */
.Lset_vectors:
	msr	vbar_el2, x1
	mov	x0, xzr
	eret

	/*
	 * x1: where to go, by physical address; x2 to x4: its x0 to x2. EL1 has
	 * invalidated its instructions, which with a VMID-aware cache need not
	 * be those that were fetched here.
	 */
.Lsoft_restart:
	ic	iallu
	dsb	nsh
	isb
	mov	x5, x1
	mov	x0, x2
	mov	x1, x3
	mov	x2, x4
	mov	x3, xzr
	br	x5

	.rept	7			// IRQ, FIQ, SError; 32-bit EL1
	unexpected
	.endr
	.org	trans_pgd_el2_vectors + 0x800
SYM_CODE_END(trans_pgd_el2_vectors)
	.popsection
