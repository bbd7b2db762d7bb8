# Sourced by run.sh and vm.sh, with `top` set to the checkout: what goes into the machine.
# shellcheck shell=bash

# packages DIR: old.deb and new.deb, the same but for their versions, which stand in DIR/versions. SLUICE_PACKAGE_BUILT=1 takes
# those that are there.
packages() {
  local version new
  mkdir -p "$1"
  version=$("$top/node_modules/node/bin/node" -p 'require(process.argv[1]).version' "$top/package.json")
  new=${version%.*}.$((${version##*.} + 1))
  [ -n "${SLUICE_PACKAGE_BUILT:-}" ] || (cd "$top" && npm run --silent package -- --arch amd64 && npm run --silent package -- --arch amd64 --version "$new") || return 1
  cp "$top/build/packages/sluice_${version}_amd64.deb" "$1/old.deb"
  cp "$top/build/packages/sluice_${new}_amd64.deb" "$1/new.deb"
  printf 'OLD=%s NEW=%s\n' "$version" "$new" >"$1/versions"
}

# dependencies DEB: as mmdebstrap takes them, the first of each alternative that is there
dependencies() {
  dpkg-deb --field "$1" Depends | sed -E 's/\([^)]*\)//g; s/ *\|[^,]*//g; s/ //g'
}

# things DIR PACKAGES: all that life.sh reads, in DIR, which is /test in the machine.
things() {
  local to=$1 here=$top/test/installed
  mkdir -p "$to" "$to/tries"
  cp "$here"/*.sh "$here"/*.py "$here"/*.yaml "$here"/*.sql "$top/test/tally.sh" "$top/test/daemon-faults.sh" \
    "$top/test/systemd/evaluate.mjs" "$top/test/killed/world.py" "$2"/* "$to/"
  cc -O2 -static -o "$to/prober" "$top/test/killed/prober.c"
  cp -r "$here/units" "$to/"
  chmod 777 "$to" "$to/tries"
  mkfifo "$to/ask"
  touch "$to/said"
}

# prepare ROOT: what has to be there before it is booted.
prepare() {
  local name
  cp "$1"/test/units/*.service "$1/etc/systemd/system/"
  for name in dev boss; do useradd --root "$1" --create-home --shell /bin/sh "$name"; done
  # The server that comes with the package stays off; ours lies outside.
  for name in postgresql.service postgresql@.service; do ln -sf /dev/null "$1/etc/systemd/system/$name"; done
  systemctl --root="$1" --quiet enable world.service cable.service shop.service life.service
}
