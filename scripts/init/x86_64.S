# The first process of a container with `init: true` (ADR 0042). What is in front of `child` is
# in stackctl/runtime/shim/init.py, which adds the rest:
#   as x86_64.S -o init.o && objcopy -O binary -j .text init.o init.bin
	.globl _start
_start:	lea	name(%rip), %rsi	# prctl(PR_SET_NAME, name)
	mov	$15, %edi
	mov	$157, %eax
	syscall
	pushq	$-1			# all signals
	push	%rax			# where the status goes
next:	lea	8(%rsp), %rdi		# rt_sigtimedwait(all, 0, 0, 8)
	xor	%esi, %esi
	xor	%edx, %edx
	mov	$8, %r10d
	mov	$128, %eax
	syscall
	cmp	$-4, %eax		# EINTR
	je	next
	mov	$125, %edi
	test	%eax, %eax
	js	leave
	cmp	$17, %eax		# SIGCHLD
	je	reap
	mov	%eax, %esi		# kill(child, signal)
	mov	child(%rip), %edi
	mov	$62, %eax
	syscall
	jmp	next
reap:	mov	$-1, %rdi		# wait4(-1, &status, WNOHANG | __WALL, 0)
	mov	%rsp, %rsi
	mov	$0x40000001, %edx
	xor	%r10d, %r10d
	mov	$61, %eax
	syscall
	test	%eax, %eax
	jle	next
	cmp	child(%rip), %eax
	jne	reap
	mov	(%rsp), %edi		# exit_group(its code, or 128 + its signal)
	and	$0x7f, %edi
	jz	code
	add	$128, %edi
	jmp	leave
code:	movzbl	1(%rsp), %edi
leave:	mov	$231, %eax
	syscall
	.balign	4
child:	.long	0
name:	.asciz	"stackctl-init"
