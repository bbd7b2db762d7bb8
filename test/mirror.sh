# shellcheck shell=bash
# mirror RELEASE DIR: where this host gets Debian's packages, for mmdebstrap: DIR/sources.list and DIR/apt.conf. Debian's own
# repositories, or those of another release there, and nothing else: another's npm or Node would hide what Debian's can't do.
mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    awk '$3 ~ /^bookworm(-updates|-security)?$/' | sed "s/ bookworm/ $1/" | sort -u >"$2/sources.list"
  [ -s "$2/sources.list" ] || printf 'deb http://deb.debian.org/debian %s main\n' "$1" >"$2/sources.list"
  apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|ForceIP|Languages)' >"$2/apt.conf" || true
}
