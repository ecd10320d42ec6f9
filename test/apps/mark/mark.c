/*
 * The application that benchmarks start: its first act is to read the machine's monotonic clock, and its first line says
 * what that was. Then it listens on $PORT until SIGTERM. Its lines are "main <nanoseconds>", "bound <nanoseconds>" and
 * "term <nanoseconds>". It is C and static, so that of what is measured least is its own.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int bound(void)
{
	const char *port = getenv("PORT");
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 5000)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0;
}

int main(void)
{
	long long began = now();
	sigset_t term;
	int got;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL); /* as process 1 it would not hear of it otherwise */
	dprintf(1, "main %lld\n", began);
	if (!bound()) {
		perror("mark: listen");
		return 1;
	}
	dprintf(1, "bound %lld\n", now());
	sigwait(&term, &got);
	dprintf(1, "term %lld\n", now());
	return 0;
}
