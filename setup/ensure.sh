#!/bin/sh
# Sees to it that everything a script needs is there, then becomes that script under Node 24:
#
#   setup/ensure.sh PROFILE [SCRIPT [ARG...]]    PROFILE: run, corpora, bench, test, longer, fresh,
#                                                package or vm (see the file packages)
#
# Written for /bin/sh because nothing else may be there yet. When all is there it takes about a tenth of a second.
# Nothing is started and nothing is left running: services that a package brings stay off, PostgreSQL gets no cluster.
set -eu
profile=$1
shift
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"

dim='' plain='' began=''
[ ! -t 2 ] || { dim=$(printf '\033[2m') plain=$(printf '\033[0m'); }
say() { began=${began:-$(date +%s)}; printf '%ssetup: %s%s\n' "$dim" "$*" "$plain" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 69; }

[ "$(uname -s)" = Linux ] || fail "sluice enforces with the Linux kernel; this is $(uname -s)"
[ "$(id -u)" = 0 ] || fail "run this as root (try: sudo npm ...): it loads BPF programs and installs what is missing"
[ -r /sys/kernel/btf/vmlinux ] || fail "this kernel has no BTF (/sys/kernel/btf/vmlinux); one with CONFIG_DEBUG_INFO_BTF=y is required, as Debian's are"

# ---------------------------------------------------------------- Debian packages
wanted=$(awk -v p="$profile" '$1 == "run" || $1 == p || ($1 == "test" && p == "longer") { print $2 }' setup/packages)
missing=''
if command -v dpkg-query >/dev/null 2>&1; then
  # shellcheck disable=SC2086
  there=" $(dpkg-query -W -f='${binary:Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
    awk '$2 == "installed" { sub(/:.*/, "", $1); print $1 }' | tr '\n' ' ') "
  for package in $wanted; do
    case $there in *" $package "*) ;; *) missing="$missing $package" ;; esac
  done
else
  say "no dpkg here: taking it that these are installed: $(echo $wanted)"
fi

if [ -n "$missing" ]; then
  say "installing Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  quiet() {
    "$@" >"$log" 2>&1 || { tail -n 25 "$log" >&2; fail "this failed: $*"; }
  }
  # Packages that bring a service must not start it, and PostgreSQL must not make a cluster: both for the time of this
  # installation only.
  policy=/usr/sbin/policy-rc.d
  cluster=/etc/postgresql-common/createcluster.conf
  made_policy='' changed_cluster=''
  restore() {
    [ -z "$made_policy" ] || rm -f "$policy"
    [ -z "$changed_cluster" ] || mv -f "$cluster.before-sluice" "$cluster"
    rm -f "$log"
  }
  trap restore EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if [ ! -e "$policy" ]; then
    made_policy=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  quiet apt-get update
  # On a machine that has just started, or is shared, another apt-get may hold the lock.
  if [ ! -e "$cluster" ]; then
    quiet apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends postgresql-common
  fi
  if [ -e "$cluster" ]; then
    cp -p "$cluster" "$cluster.before-sluice"
    changed_cluster=1
    printf 'create_main_cluster = false\n' >>"$cluster"
  fi
  # shellcheck disable=SC2086
  quiet apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
  restore
  trap - EXIT INT TERM
fi

# ---------------------------------------------------------------- npm packages, Node 24 among them
node=node_modules/node/bin/node
locked=$(cksum <package-lock.json)
stamp=node_modules/.sluice-lock
if [ ! -x "$node" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$locked" ]; then
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || fail "npm is missing: apt-get install npm"
  if ! node setup/modules.mjs; then
    say 'installing npm packages (npm ci)'
    npm ci --no-audit --no-fund --loglevel=error >&2
  fi
  if ! "$node" --version >/dev/null 2>&1; then
    # npm of the newest kind may leave install scripts out; that of the package "node" fetches the binary.
    say 'fetching Node 24 (install script of the npm package "node")'
    (cd node_modules/node && node installArchSpecificPackage.js >&2)
  fi
  "$node" --version >/dev/null 2>&1 || fail 'the npm package "node" brought no working Node 24'
  printf '%s\n' "$locked" >"$stamp"
fi

# ---------------------------------------------------------------- native parts, and the accounts they use
if ! make -q -C native >/dev/null 2>&1; then
  say 'building the native parts (make -C native)'
  make -s -C native >&2
fi
# What runs as a service runs compiled: it starts sooner and needs half the memory of types stripped at every start.
built=build/js/.built
if [ ! -e "$built" ] || [ -n "$(find daemon package.json tsconfig.json tsconfig.build.json -newer "$built" -name '*.*s*' -print -quit)" ]; then
  say 'compiling the daemon (tsc)'
  mkdir -p build/js/build
  touch "$built.now"
  "$node" node_modules/typescript/bin/tsc -p tsconfig.build.json >&2 || fail 'the daemon does not compile'
  cp package.json build/js/
  ln -sfn ../../native build/js/build/native
  mv "$built.now" "$built"
fi
for account in sluice sluice-agent; do
  if ! id -u "$account" >/dev/null 2>&1; then
    say "making the system account $account"
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$account"
  fi
done

# Names for the uids that sluice-helper gives agents (--pool): ssh and libpq want one.
if [ "$(grep -c '^sluice-agent-[0-9]' /etc/passwd)" -lt 64 ]; then
  say 'making the system accounts sluice-agent-0 to sluice-agent-63'
  for i in $(seq 0 63); do
    id -u "sluice-agent-$i" >/dev/null 2>&1 || useradd --no-create-home --home-dir /nonexistent \
      --user-group --uid "$((70000 + i))" --shell /usr/sbin/nologin --key UID_MAX=70063 --key GID_MAX=70063 \
      --key SUB_UID_COUNT=0 --key SUB_GID_COUNT=0 "sluice-agent-$i"
  done
fi

[ -z "$began" ] || say "ready after $(($(date +%s) - began)) s"

PATH=$root/node_modules/.bin:$PATH
export PATH
[ $# -eq 0 ] || exec "$root/$node" "$@"
