#!/usr/bin/env bash
# `npm run demo` and `npm test` on a machine that has none of the packages yet: see README.md.
# Ends with the line `N passed, N failed, N skipped`; exits non-zero when anything failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
# shellcheck source=test/machine.sh
. "$top/test/machine.sh"
machine fresh 'a bare Debian, booted' 75%

# ---------------------------------------------------------------- the root
# Debian's own repositories of the host and nothing else of it: another's npm or Node would hide what Debian's can't do.
printf '== a bare Debian 12, with git and npm\n'
debian bookworm systemd-sysv,ca-certificates,git,npm
starts
export SYSTEMD_NSPAWN_TMPFS_TMP=0

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

mkdir "$root/test"
shopt -s nocasematch
for name in $(compgen -e); do
  case $name in
    http_proxy | https_proxy | no_proxy | all_proxy | NODE_EXTRA_CA_CERTS | SSL_CERT_FILE | SSL_CERT_DIR | \
      npm_config_registry | npm_config_cafile | npm_config_ca | npm_config_proxy | npm_config_https_proxy | \
      npm_config_noproxy | npm_config_strict_ssl)
      printf 'export %s=%q\n' "$name" "${!name}"
      ;;
  esac
done >"$root/test/env"

# ---------------------------------------------------------------- the project, and what is run there
[ -z "$(git -C "$top" status --porcelain)" ] || printf 'what is not committed yet is not part of it\n'
git clone -q --no-hardlinks "$top" "$root/root/sluice"
cp "$here/inside.sh" "$root/test/"
cat >"$root/etc/systemd/system/fresh.service" <<'UNIT'
[Unit]
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=exec
User=root
WorkingDirectory=/root/sluice
ExecStart=/bin/bash /test/inside.sh
StandardInput=null
StandardOutput=append:/test/said
StandardError=append:/test/said

[Install]
WantedBy=multi-user.target
UNIT
systemctl --root="$root" --quiet enable fresh.service

# The host's network, as the mirrors may be within its reach alone; every test takes free ports.
lives 900 --resolv-conf=copy-host
result
