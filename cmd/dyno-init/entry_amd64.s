#include "textflag.h"

// The stack as the kernel leaves it: the number of arguments, the arguments, 0, the environment.
#define COUNT 0(SP)
#define PATH 8(SP)
#define MAIN 24(SP)
#define ENVIRONMENT 40(SP)

// Below the stack, where no signal handler ever writes: all signals, and what waitid says.
#define ALL -8(SP)
#define INFO -136(SP)
#define INFO_CODE -128(SP)
#define INFO_PID -120(SP)
#define INFO_STATUS -112(SP)

// See entry.go.
TEXT dyno_init(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	$-1, AX
	MOVQ	AX, ALL
	MOVQ	$14, AX			// rt_sigprocmask
	MOVQ	$2, DI			// SIG_SETMASK
	LEAQ	ALL, SI
	XORL	DX, DX
	MOVQ	$8, R10
	SYSCALL
	CMPQ	COUNT, $3
	JNE	go
	MOVQ	$39, AX			// getpid
	SYSCALL
	CMPQ	AX, $1
	JEQ	sleeper
go:
	MOVB	$1, ·entered(SB)
	JMP	_rt0_amd64_linux(SB)

sleeper:
	MOVQ	$157, AX		// prctl
	MOVQ	$4, DI			// PR_SET_DUMPABLE
	XORL	SI, SI
	SYSCALL
	XORL	R12, R12		// the command's process; 0 when it has ended
	XORL	R13, R13		// 1 after SIGTERM
	XORL	R14, R14		// the status to end with
	MOVQ	MAIN, SI
digit:
	MOVBQZX	(SI), AX
	TESTQ	AX, AX
	JEQ	reap
	SUBQ	$'0', AX
	IMULQ	$10, R12
	ADDQ	AX, R12
	INCQ	SI
	JMP	digit

reap:
	MOVQ	$247, AX		// waitid
	XORL	DI, DI			// P_ALL
	XORL	SI, SI
	LEAQ	INFO, DX
	MOVQ	$5, R10			// WNOHANG | WEXITED
	XORL	R8, R8
	SYSCALL
	CMPQ	AX, $-10		// ECHILD
	JEQ	end
	MOVL	INFO_PID, AX
	TESTL	AX, AX
	JEQ	wait			// none has ended
	CMPL	AX, R12
	JNE	reap
	XORL	R12, R12		// later the number is another's
	MOVL	INFO_STATUS, R14
	CMPL	INFO_CODE, $1		// CLD_EXITED
	JEQ	ended
	ADDL	$128, R14
ended:
	TESTL	R13, R13
	JNE	reap			// every process has to be gone
end:
	MOVQ	$231, AX		// exit_group
	MOVL	R14, DI
	SYSCALL

wait:
	MOVQ	$128, AX		// rt_sigtimedwait
	LEAQ	ALL, DI
	XORL	SI, SI
	XORL	DX, DX
	MOVQ	$8, R10
	SYSCALL
	CMPQ	AX, $29			// launch.Knock
	JEQ	knock
	MOVQ	$(1<<1|1<<2|1<<3|1<<10|1<<12|1<<14|1<<15|1<<18|1<<28), CX // passedOn
	CMPQ	AX, $64
	JHI	reap			// none
	CMPQ	AX, $40			// launch.Meant
	JLS	meant
	SUBQ	$40, AX
meant:
	BTQ	AX, CX
	JCC	reap
	CMPQ	AX, $15			// SIGTERM
	JNE	pass
	MOVL	$1, R13
pass:
	MOVQ	AX, SI
	MOVQ	$-1, DI
	MOVQ	$62, AX			// kill
	SYSCALL
	JMP	reap

knock:
	MOVQ	$57, AX			// fork
	SYSCALL
	TESTQ	AX, AX
	JNE	reap
	TESTL	R13, R13
	JNE	start			// with one argument more, by which it knows
	MOVQ	AX, MAIN		// the arguments end before it
start:
	MOVQ	PATH, DI
	LEAQ	PATH, SI
	LEAQ	ENVIRONMENT, DX
	MOVQ	$59, AX			// execve
	SYSCALL
	MOVQ	$231, AX		// exit_group
	MOVQ	$126, DI
	SYSCALL
