/* connect() in ways that libc does not offer: HOW ADDRESS PORT. Compiled by the agent itself. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* i386: socketcall(SYS_CONNECT, …) by int 0x80; its arguments have to lie below 4 GB, and the filter is asked first. */
static long by_old_gate(void)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(102L), "b"(1L), "c"(0L) : "memory", "r8", "r9", "r10", "r11");
	return result;
#else
	return -1;
#endif
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct iovec text = {"leak\n", 5};
	long fd;

	if (argc != 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons((unsigned short)atoi(argv[3]));
	if (strcmp(argv[1], "gate") == 0)
		return by_old_gate() < 0;
	/* x32: the same calls under other numbers. */
	fd = syscall(strcmp(argv[1], "x32") == 0 ? SYS_socket | 0x40000000 : SYS_socket, AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || syscall(SYS_connect, fd, &to, sizeof to) < 0)
		return 1;
	return syscall(SYS_writev, fd, &text, 1) < 0;
}
