# The first process of a container with `init: true` (ADR 0042). What is in front of `child` is
# in stackctl/runtime/shim/init.py, which adds the rest:
#   aarch64-linux-gnu-as aarch64.S -o init.o && aarch64-linux-gnu-objcopy -O binary -j .text init.o init.bin
	.globl _start
_start:	mov	x0, #15
	adr	x1, name
	mov	x8, #167
	svc	#0
	mov	x9, #-1
	stp	xzr, x9, [sp, #-16]!
next:	add	x0, sp, #8
	mov	x1, xzr
	mov	x2, xzr
	mov	x3, #8
	mov	x8, #137
	svc	#0
	cmn	w0, #4
	b.eq	next
	mov	w1, w0
	mov	w0, #125
	tbnz	w1, #31, leave
	cmp	w1, #17
	b.eq	reap
	ldr	w0, child
	mov	x8, #129
	svc	#0
	b	next
reap:	mov	x0, #-1
	mov	x1, sp
	mov	w2, #1
	movk	w2, #0x4000, lsl #16
	mov	x3, xzr
	mov	x8, #260
	svc	#0
	cmp	w0, #0
	b.le	next
	ldr	w1, child
	cmp	w0, w1
	b.ne	reap
	ldr	w1, [sp]
	ands	w0, w1, #0x7f
	b.eq	code
	add	w0, w0, #128
	b	leave
code:	ubfx	w0, w1, #8, #8
leave:	mov	x8, #94
	svc	#0
child:	.long	0
name:	.asciz	"stackctl-init"
