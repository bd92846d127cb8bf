/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kexec: put the new kernel in place and enter it
 *
 * Copyright (C) Linaro.
 * Copyright (C) Huawei Futurewei Technologies.
 */
#include <linux/kexec.h>
#include <linux/linkage.h>
#include <uapi/linux/psci.h>

#include <asm/asm-offsets.h>
#include <asm/assembler.h>
#include <asm/kexec.h>
#include <asm/page.h>
#include <asm/sysreg.h>
#include <asm/trans_pgd.h>
#include <asm/virt.h>

/*
 * The bits that __cpu_soft_restart() clears. SCTLR_ELx_FLAGS has the same
 * value, but trees with newer code do not have that name.
 */
#define SCTLR_OFF	(SCTLR_ELx_M | SCTLR_ELx_C | SCTLR_ELx_I | \
			 SCTLR_ELx_A | SCTLR_ELx_SA | SCTLR_ELx_IESB)

/* Bytes that are copied at a time, and then cleaned as one cache line */
#define STRIDE	64

/*
 * Copy STRIDE bytes from x1 to x0 + STRIDE and advance both. Clean and
 * invalidate what was written, to the PoC, as booting.rst demands. While the
 * MMU is on, a clean line may be fetched again. The new kernel itself
 * invalidates the memory that it writes with its MMU off.
 */
	.macro	copy_and_clean
	ldp	x4, x5, [x1], #STRIDE
	ldp	x6, x7, [x1, #16 - STRIDE]
	ldp	x8, x9, [x1, #32 - STRIDE]
	ldp	x10, x11, [x1, #48 - STRIDE]
	stp	x4, x5, [x0, #STRIDE]!
	stp	x6, x7, [x0, #16]
	stp	x8, x9, [x0, #32]
	stp	x10, x11, [x0, #48]
	dc	civac, x0
	.endm

/*
 * arm64_relocate_new_kernel - copy the image's pages to where it wants them
 *
 *	x0: struct kimage, linear map address
 *	x1: physical address of a page of zeroes
 *	x2: linear map address minus physical address
 *	x3: smallest D-cache line of the system, in bytes
 *	x4: conduit of PSCI SYSTEM_RESET, or SMCCC_CONDUIT_NONE
 *
 * A copy of this code runs in a page that is not overwritten. TTBR0 maps that
 * page at its physical address. Once the first page has been copied, all other
 * memory may be overwritten, except for the image's list, its sources and the
 * tables. So there is no stack, no literal and no call. What is needed of the
 * kimage is in registers by then.
 *
 * Pages are read and written through the copy of the linear map, with the
 * caches on. They are cleaned to the PoC, because the new kernel starts with
 * its MMU off. The MMU is switched off as the last step. An exception before
 * that resets the machine, through vectors in the same page.
 *
 *	x15: linear map address minus physical address
 *	x16: entry of the image's list
 *	x17: linear map address of the next entry
 *	x18: D-cache line size
 *	x19: linear map address of the next page to write
 *	x20: conduit of SYSTEM_RESET
 *	x26: entry point, physical
 *	x27: device tree, physical, or 0
 *	x28: EL2 vectors, physical, or 0
 */
	.align	11				// alignment of the vectors
SYM_CODE_START(arm64_relocate_new_kernel)
	mov	x15, x2
	mov	x18, x3
	mov	x20, x4
	ldr	x16, [x0, #KIMAGE_HEAD]
	ldr	x26, [x0, #KIMAGE_START]
	ldr	x27, [x0, #KIMAGE_ARCH_DTB_MEM]
	ldr	x28, [x0, #KIMAGE_ARCH_EL2_VECTORS]
	ldr	x2, [x0, #KIMAGE_ARCH_TTBR1]
	adr	x3, .Lvectors
	msr	vbar_el1, x3
	isb
	break_before_make_ttbr_switch	x1, x2, x3, x4
	b	.Lentry

.Lnext:
	ldr	x16, [x17], #8
.Lentry:
	and	x1, x16, PAGE_MASK
	add	x1, x1, x15			// linear map address
	tbz	x16, IND_SOURCE_BIT, .Lnot_source

	/*
	 * One clean for every STRIDE bytes reaches every line of that size or
	 * more. The last clean of a line comes after the last store to it.
	 */
	sub	x0, x19, #STRIDE
	add	x19, x19, #PAGE_SIZE
.Lcopy:
	copy_and_clean
	copy_and_clean
	copy_and_clean
	copy_and_clean
	tst	x1, #(PAGE_SIZE - 1)
	b.ne	.Lcopy
	cmp	x18, #STRIDE
	b.hs	.Lnext

	/* The lines are smaller. Clean each of them. */
	sub	x0, x19, #PAGE_SIZE
.Lclean:
	dc	civac, x0
	add	x0, x0, x18
	cmp	x0, x19
	b.lo	.Lclean
	b	.Lnext

.Lnot_source:
	tbnz	x16, IND_DONE_BIT, .Ldone
	tbnz	x16, IND_INDIRECTION_BIT, .Lindirection
	mov	x19, x1				// IND_DESTINATION
	b	.Lnext
.Lindirection:
	mov	x17, x1
	b	.Lnext

.Ldone:
	dsb	sy				// complete the cleaning
	ic	iallu				// no stale instructions
	dsb	nsh
	isb

	mrs	x0, sctlr_el1
	mov_q	x1, SCTLR_OFF
	bic	x0, x0, x1
	pre_disable_mmu_workaround
	msr	sctlr_el1, x0
	isb

	/* Enter the new kernel as Documentation/arm64/booting.rst demands. */
	cbz	x28, .Lenter
	mov	x0, #HVC_SOFT_RESTART
	mov	x1, x26
	mov	x2, x27
	mov	x3, xzr
	mov	x4, xzr
	hvc	#0
	/* An EL2 without this call returns. Enter the kernel at EL1 then. */
.Lenter:
	mov	x0, x27
	mov	x1, xzr
	mov	x2, xzr
	mov	x3, xzr
	br	x26

/* Every exception ends here. A reset is better than a machine that hangs. */
.Lreset:
	mov_q	x0, PSCI_0_2_FN_SYSTEM_RESET
	cmp	x20, #KEXEC_RESET_HVC
	b.eq	.Lreset_hvc
	cmp	x20, #KEXEC_RESET_SMC
	b.ne	.Lno_reset
	smc	#0
	b	.Lno_reset
.Lreset_hvc:
	hvc	#0
.Lno_reset:
	wfe
	b	.Lno_reset

	/* The build fails if the code does not fit before the vectors. */
	.org	arm64_relocate_new_kernel + SZ_2K
.Lvectors:
	.rept	16
	ventry	.Lreset
	.endr
	.org	arm64_relocate_new_kernel + KEXEC_CONTROL_PAGE_SIZE
SYM_INNER_LABEL(arm64_relocate_new_kernel_end, SYM_L_GLOBAL)
SYM_CODE_END(arm64_relocate_new_kernel)
