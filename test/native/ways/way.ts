/** One way out of a session. */

export interface Way {
  /** Of the list that this one began with; 'more' for what was added. */
  readonly row: string;
  readonly name: string;
  /** Hooks that close it. Left out all at once, root in a session escapes; those of them that a kernel has hold it. */
  readonly hooks: readonly string[];
  /** The step of sluice-launch that closes it as well (or alone). */
  readonly launch?: string;
  /** Python that runs before the process joins the session. */
  readonly prepare?: string;
  /**
   * Python that runs in the session. It has TOKEN, DIRECTORY (of the witness' sockets), OUTSIDE (pid, descriptor and child of
   * the witness), CGROUP and RUN (directories of sluice), DAEMON (its port), HELD (whether it is expected to fail) and the names of PRELUDE. Printing ESCAPED says that it got out, IMPOSSIBLE that this kernel does not
   * have the way at all, LISTENING and a port that it waits for somebody to come.
   */
  readonly code: string;
  /** Nothing refuses it: the connection or datagram goes to the daemon, which records it. */
  readonly turned?: true;
  /** The filter refuses it without a word: why. */
  readonly untold?: string;
  readonly pull?: { readonly from: 'world' | 'host'; readonly address: string };
  readonly helperOptions?: (directory: string) => readonly string[];
}

export const PRELUDE = `
import array, ctypes, errno, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {'x86_64': 0, 'aarch64': 1}[os.uname().machine]
def syscall(numbers, *a):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(numbers[NUMBERS]), *[x if isinstance(x, (ctypes.Array, bytes)) or hasattr(x, '_obj') else ctypes.c_long(x) for x in a])
    if r < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r
FAR, FAR6, PORT = '198.51.100.23', 'fd00:17::23', 5433
I, V, STREAM, DGRAM, RAW = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
def tcp(family, address, port=PORT, prepare=lambda s: None, kind=0):
    s = socket.socket(family, STREAM, kind); s.settimeout(2); prepare(s)
    s.connect((address, port)); s.sendall(TOKEN); time.sleep(0.05)
def make(*a):
    try: return socket.socket(*a)
    except OSError as e:
        if e.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT) or (e.errno == errno.EAFNOSUPPORT and not HELD): print('IMPOSSIBLE'); sys.exit()
        raise
`;
