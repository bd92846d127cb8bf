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
 *	x0 to x5: passed to the code in the same registers
 *	x6: address of the code, which is not a function of the kernel
 *
 * This is in assembly because of compilers that check calls through pointers
 * (CFI). They look for the type of a function in front of it, or for its
 * address in a table. The copy of the code in a page of its own has neither.
 */
SYM_FUNC_START(trans_pgd_enter)
	br	x6				// no return
SYM_FUNC_END(trans_pgd_enter)

/*
 * A kernel that was booted at EL2 and runs at EL1 leaves the hyp-stub at EL2.
 * The text of the hyp-stub may be overwritten. These vectors replace it, in a
 * page of their own. They implement the protocol of the hyp-stub, except for
 * HVC_RESET_VECTORS, because there is nothing to go back to.
 *
 * Every handler fits into its slot of the table. So the table is complete in
 * itself, needs no data, and runs wherever it is copied to. EL2 has its MMU
 * off.
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
	 * x1: physical address to branch to
	 * x2 to x4: passed to it in x0 to x2
	 *
	 * EL1 has invalidated its instruction cache. With a VMID-aware cache
	 * that need not reach the lines that were fetched at EL2.
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
