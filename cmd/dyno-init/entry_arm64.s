#include "textflag.h"

// The stack as the kernel leaves it: the number of arguments, the arguments, 0, the environment.
#define COUNT 0(RSP)
#define PATH 8(RSP)
#define MAIN 24(RSP)
#define ENVIRONMENT 40

// Below the stack, where no signal handler ever writes: all signals, and what waitid says.
#define ALL 8
#define INFO 136
#define INFO_CODE -128(RSP)
#define INFO_PID -120(RSP)
#define INFO_STATUS -112(RSP)

// See entry.go.
TEXT dyno_init(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	$-1, R0
	MOVD	R0, -ALL(RSP)
	MOVD	$135, R8		// rt_sigprocmask
	MOVD	$2, R0			// SIG_SETMASK
	SUB	$ALL, RSP, R1
	MOVD	$0, R2
	MOVD	$8, R3
	SVC
	MOVD	COUNT, R0
	CMP	$3, R0
	BNE	go
	MOVD	$172, R8		// getpid
	SVC
	CMP	$1, R0
	BEQ	sleeper
go:
	MOVD	$1, R0
	MOVB	R0, ·entered(SB)
	MOVD	$0, R0
	B	_rt0_arm64_linux(SB)

sleeper:
	MOVD	$167, R8		// prctl
	MOVD	$4, R0			// PR_SET_DUMPABLE
	MOVD	$0, R1
	SVC
	MOVD	$0, R19			// the command's process; 0 when it has ended
	MOVD	$0, R20			// 1 after SIGTERM
	MOVD	$0, R21			// the status to end with
	MOVD	$10, R22
	MOVD	MAIN, R1
digit:
	MOVBU.P	1(R1), R0
	CBZ	R0, reap
	SUB	$'0', R0
	MADD	R22, R0, R19, R19
	B	digit

reap:
	MOVD	$95, R8			// waitid
	MOVD	$0, R0			// P_ALL
	MOVD	$0, R1
	SUB	$INFO, RSP, R2
	MOVD	$5, R3			// WNOHANG | WEXITED
	MOVD	$0, R4
	SVC
	CMN	$10, R0			// ECHILD
	BEQ	end
	MOVWU	INFO_PID, R0
	CBZ	R0, wait		// none has ended
	CMP	R19, R0
	BNE	reap
	MOVD	$0, R19			// later the number is another's
	MOVWU	INFO_STATUS, R21
	MOVWU	INFO_CODE, R0
	CMP	$1, R0			// CLD_EXITED
	BEQ	ended
	ADD	$128, R21
ended:
	CBNZ	R20, reap		// every process has to be gone
end:
	MOVD	$94, R8			// exit_group
	MOVD	R21, R0
	SVC

wait:
	MOVD	$137, R8		// rt_sigtimedwait
	SUB	$ALL, RSP, R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$8, R3
	SVC
	CMP	$29, R0			// launch.Knock
	BEQ	knock
	MOVD	$(1<<1|1<<2|1<<3|1<<10|1<<12|1<<14|1<<15|1<<18|1<<28), R1 // passedOn
	CMP	$64, R0
	BHI	reap			// none
	CMP	$40, R0			// launch.Meant
	BLS	meant
	SUB	$40, R0
meant:
	LSR	R0, R1, R1
	TBZ	$0, R1, reap
	CMP	$15, R0			// SIGTERM
	BNE	pass
	MOVD	$1, R20
pass:
	MOVD	R0, R1
	MOVD	$-1, R0
	MOVD	$129, R8		// kill
	SVC
	B	reap

knock:
	MOVD	$220, R8		// clone
	MOVD	$17, R0			// SIGCHLD
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	SVC
	CBNZ	R0, reap
	CBNZ	R20, start		// with one argument more, by which it knows
	MOVD	R0, MAIN		// the arguments end before it
start:
	MOVD	PATH, R0
	ADD	$8, RSP, R1
	ADD	$ENVIRONMENT, RSP, R2
	MOVD	$221, R8		// execve
	SVC
	MOVD	$94, R8			// exit_group
	MOVD	$126, R0
	SVC
