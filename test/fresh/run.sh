#!/usr/bin/env bash
# `npm run demo` and `npm test` on a machine that has none of the packages yet: see README.md.
# Ends with the line `N passed, N failed, N skipped`; exits non-zero when anything failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)

skip() {
  printf 'skipped: a bare Debian, booted: %s\n\n0 passed, 0 failed, 1 skipped\n' "$1"
  exit 0
}

[ "$(uname -s)" = Linux ] || skip "this is $(uname -s)"
[ "$(id -u)" = 0 ] || skip 'only root can boot one'
command -v apt-get >/dev/null || skip 'this host has no apt-get, which knows the mirrors'
[ -r /sys/kernel/btf/vmlinux ] || skip 'this kernel has no BTF'
unified=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
[ -w "${unified:-/nowhere}" ] || skip 'there is no cgroup v2 here that can be written'

# In a mount namespace of its own, what is mounted goes with the last process, even after kill -9.
if [ -z "${SLUICE_FRESH_MOUNTS:-}" ]; then
  unshare --mount true 2>/dev/null || skip 'nothing can be mounted here'
  sh "$top/setup/ensure.sh" fresh
  command -v systemd-nspawn >/dev/null || skip 'there is no systemd-nspawn'
  SLUICE_FRESH_MOUNTS=1 exec unshare --mount --propagation private bash "$here/run.sh"
fi
unset SLUICE_FRESH_MOUNTS

work=/mnt
root=$work/root
cgroup=$unified/sluice-fresh-$$
mount -t tmpfs -o mode=755,size=75% sluice-fresh "$work"

clean() {
  trap '' INT TERM HUP
  disown -a
  if [ -d "$cgroup" ]; then
    echo 1 >"$cgroup/cgroup.kill"
    while grep -q 'populated 1' "$cgroup/cgroup.events"; do sleep 0.1; done
    find "$cgroup" -depth -type d -exec rmdir {} +
  fi
  umount -l "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$cgroup"

# What takes long runs in the cgroup and is waited for, so that a signal ends it at once and the script's end ends it.
ours() {
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec "$@"
}

# ---------------------------------------------------------------- the root
# Debian's own repositories of the host and nothing else of it: another's npm or Node would hide what Debian's can't do.
printf '== a bare Debian 12, with git and npm\n'
# shellcheck disable=SC2016
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
  awk '$3 ~ /^bookworm(-updates|-security)?$/' | sort -u >"$work/sources.list"
[ -s "$work/sources.list" ] || printf 'deb http://deb.debian.org/debian bookworm main\n' >"$work/sources.list"
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|ForceIP|Languages)' >"$work/apt.conf" || true
ours mmdebstrap --quiet --mode=root --variant=minbase --include=systemd-sysv,ca-certificates,git,npm \
  --aptopt="$work/apt.conf" --dpkgopt=force-unsafe-io bookworm "$root" "$work/sources.list" </dev/null &
wait $!

# ---------------------------------------------------------------- what the host needs to reach its mirrors
carry() { # the same path inside, links followed
  [ -e "$1" ] || return 0
  mkdir -p "$root$(dirname "$1")"
  rm -rf "${root:?}$1"
  cp -rL "$1" "$root$1"
}
carry /etc/hosts
carry /usr/local/share/ca-certificates
carry /etc/ssl/certs
{
  npm config get cafile
  printf '%s\n' "${NODE_EXTRA_CA_CERTS:-}" "${SSL_CERT_FILE:-}"
  sed -nE 's/^Acquire::https.*::(CaInfo|CaPath|SslCert|SslKey) "(.*)";/\2/p' "$work/apt.conf"
} | while read -r path; do
  case $path in /*) carry "$path" ;; esac
done
for level in globalconfig userconfig; do
  cat "$(npm config get $level)" 2>/dev/null || true
done >"$root/root/.npmrc"
chmod 600 "$root/root/.npmrc"

mkdir "$root/fresh"
shopt -s nocasematch
for name in $(compgen -e); do
  case $name in
    http_proxy | https_proxy | no_proxy | all_proxy | NODE_EXTRA_CA_CERTS | SSL_CERT_FILE | SSL_CERT_DIR | \
      npm_config_registry | npm_config_cafile | npm_config_ca | npm_config_proxy | npm_config_https_proxy | \
      npm_config_noproxy | npm_config_strict_ssl)
      printf 'export %s=%q\n' "$name" "${!name}"
      ;;
  esac
done >"$root/fresh/env"

# ---------------------------------------------------------------- the project, and what is run there
[ -z "$(git -C "$top" status --porcelain)" ] || printf 'what is not committed yet is not part of it\n'
git clone -q --no-hardlinks "$top" "$root/root/sluice"
cp "$here/inside.sh" "$root/fresh/"
touch "$root/fresh/said"
cat >"$root/etc/systemd/system/fresh.service" <<'UNIT'
[Unit]
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=exec
User=root
WorkingDirectory=/root/sluice
ExecStart=/bin/bash /fresh/inside.sh
StandardInput=null
StandardOutput=append:/fresh/said
StandardError=append:/fresh/said

[Install]
WantedBy=multi-user.target
UNIT
systemctl --root="$root" --quiet enable fresh.service

# The host's network, as the mirrors may be within its reach alone; every test takes free ports.
printf '\n== booted\n'
export SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_TMPFS_TMP=0
ours setpriv --pdeathsig KILL systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$root" \
  --resolv-conf=copy-host --capability=all --system-call-filter=bpf --console=pipe </dev/null >"$work/console" 2>&1 &
container=$!
tail -n +1 --sleep-interval=0.2 --follow --pid="$container" "$root/fresh/said" &
wait "$container" || true
wait
[ -e "$root/fresh/result" ] || { cat "$work/console"; printf '\n0 passed, 1 failed, 0 skipped\n'; exit 1; }
read -r passed failed skipped <"$root/fresh/result"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
