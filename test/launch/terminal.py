"""A shell on a terminal of its own, in which sluice-launch is a job. Reads {"steps": [[type, pattern], ...]} and prints what was shown."""
import json, os, pty, re, select, struct, sys, fcntl, termios, time, signal

task = json.load(sys.stdin)
pid, master = pty.fork()
if pid == 0:
    os.setgid(task["uid"]); os.setuid(task["uid"]); os.chdir("/")
    os.environ.update({"PS1": "$ ", "TERM": "dumb", "FRONT": task["front"]})
    os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
shown, at = "", 0
deadline = time.monotonic() + 60

def wait(pattern):
    """Everything up to the match that comes after what has been matched already."""
    global shown, at
    while True:
        found = re.compile(pattern, re.M).search(shown, at)
        if found:
            at = found.end()
            return
        if time.monotonic() > deadline or not select.select([master], [], [], 20)[0]:
            print(json.dumps({"missing": pattern, "shown": shown}))
            os.kill(pid, signal.SIGKILL)
            sys.exit(0)
        try:
            shown += os.read(master, 65536).decode(errors="replace")
        except OSError:
            deadline_passed = {"missing": pattern, "shown": shown, "hung_up": True}
            print(json.dumps(deadline_passed))
            sys.exit(0)

for typed, pattern in task["steps"]:
    if isinstance(typed, list):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", typed[0], typed[1], 0, 0))
        os.kill(os.tcgetpgrp(master), signal.SIGWINCH)
    else:
        os.write(master, typed.encode())
    wait(pattern)
print(json.dumps({"missing": None, "shown": shown}))
os.kill(pid, signal.SIGKILL)
