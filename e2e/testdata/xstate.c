/*
 * Preloaded into user-mode-linux, which sets the floating point registers of its
 * processes in a buffer that is sized for the processors of its day. Where a
 * processor has more of them (AMX), the host's kernel wants the whole set, answers
 * EFAULT to less, and no process comes to run. This hands it the whole set.
 *
 * It is compiled without headers: the compiler may be there alone.
 */

struct iovec {
	void *base;
	unsigned long len;
};

enum {
	PTRACE_GETREGSET = 0x4204,
	PTRACE_SETREGSET = 0x4205,
	NT_X86_XSTATE = 0x202,
	XSTATE_BV = 512,    /* where the set says which of its states are in use */
	AVX512_PKRU = 0x2ff, /* the states that user-mode-linux may know of */
};

extern void *dlsym(void *handle, const char *name);
#define RTLD_NEXT ((void *)-1)

/* The registers are passed as libc's variadic function takes them. */
typedef long ptrace_function(long request, long pid, long address, struct iovec *data);

long ptrace(long request, long pid, long address, struct iovec *data)
{
	static ptrace_function *real;
	static char set[1 << 16];
	struct iovec whole = {set, sizeof set};
	unsigned long i;

	if (!real)
		real = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
	if ((int)request != PTRACE_SETREGSET || address != NT_X86_XSTATE)
		return real(request, pid, address, data);
	if (real(PTRACE_GETREGSET, pid, address, &whole) != 0 || whole.len <= data->len)
		return real(request, pid, address, data);
	for (i = 0; i < whole.len; i++)
		set[i] = i < data->len ? ((char *)data->base)[i] : 0;
	*(unsigned long *)(set + XSTATE_BV) &= AVX512_PKRU;
	return real(request, pid, address, &whole);
}
