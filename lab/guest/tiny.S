/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The smallest kernel that a kexec can be judged by: four pages with the header of an
 * arm64 Image. It sees that it was entered as Documentation/arm64/booting.rst asks and
 * that all its pages have arrived, says so on the UART of QEMU's virt machine and
 * switches the machine off.
 *
 *	TINY EL<n> entered right	or
 *	TINY EL<n> entered wrong: <c>	which check failed, by its letter
 */
#define UART		0x9000000
#define UART_FR		0x18
#define TX_FULL_BIT	5
#define SYSTEM_OFF	0x84000008
#define FDT_MAGIC	0xedfe0dd0		/* as this CPU loads it */
#define PATTERN		0x9e3779b97f4a7c15	/* an odd number: all its multiples differ */
#define PAGES		3			/* of pattern, after the one with code */
#define PAGE		4096

	.text
image:
	b	start
	.long	0
	.quad	0				// load where memory begins
	.quad	image_end - image
	.quad	0x2				// little-endian, 4K pages
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

	.macro	check, letter, condition
	mov	w27, #\letter
	b.\condition	wrong
	.endm

start:
	mov	w28, #'1'
	mrs	x9, CurrentEL
	tbz	x9, #3, 1f
	mov	w28, #'2'
	mrs	x10, sctlr_el2
	b	2f
1:	mrs	x10, sctlr_el1
2:	ldr	w11, =FDT_MAGIC
	mov	w12, wzr
	cbz	x0, 3f
	ldr	w12, [x0]
3:	cmp	w11, w12
	check	'd', ne				// x0 is not the device tree
	orr	x11, x1, x2
	orr	x11, x11, x3
	cmp	x11, #0
	check	'x', ne				// x1 to x3 are not 0
	mov	x11, #1 << 0 | 1 << 2
	tst	x10, x11
	check	'm', ne				// MMU or data cache on
	mrs	x11, daif
	mvn	x11, x11
	tst	x11, #0xf << 6
	check	'i', ne				// interrupts not masked
	adr	x11, pattern
	adr	x12, image_end
	ldr	x13, =PATTERN
	mov	x14, #0
4:	add	x14, x14, x13
	ldr	x15, [x11], #8
	cmp	x15, x14
	check	'p', ne				// a page has not arrived
	cmp	x11, x12
	b.lo	4b
	adr	x1, right
	b	say

wrong:
	adr	x1, reason
	strb	w27, [x1]
	adr	x1, failed
say:
	adr	x2, el
	strb	w28, [x2]
	mov	x20, x1
	adr	x1, greeting
	bl	print
	mov	x1, x20
	bl	print
	ldr	w0, =SYSTEM_OFF
	cmp	w28, #'2'
	b.eq	5f
	hvc	#0
5:	smc	#0
6:	wfe
	b	6b

print:						// x1: text
	ldr	x2, =UART
7:	ldrb	w3, [x1], #1
	cbz	w3, 9f
8:	ldr	w4, [x2, #UART_FR]
	tbnz	w4, #TX_FULL_BIT, 8b
	str	w3, [x2]
	b	7b
9:	ret

greeting:
	.ascii	"\r\nTINY EL"
el:	.asciz	"?"
right:	.asciz	" entered right\r\n"
failed:	.ascii	" entered wrong: "
reason:	.asciz	"?\r\n"
	.ltorg

	.balign	PAGE
pattern:
	.set	word, 0
	.rept	PAGES * PAGE / 8
	.set	word, word + PATTERN
	.quad	word
	.endr
image_end:
