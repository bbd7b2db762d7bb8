# Sourced, with `root` set to the checkout: sees to the guest (host.sh), and makes `payload`, a folder with what was built here,
# without a run.sh.
# shellcheck source=test/vm/host.sh
. "$root/test/vm/host.sh"

payload=$(mktemp -d)
chmod 755 "$payload" # other accounts read it in the guest
trap 'rm -rf "$payload"' EXIT
mkdir -p "$payload/node_modules/node/bin" "$payload/build/native" "$payload/build/js"
cp "$root/package.json" "$payload/"
ln -s "$(readlink -f "$root/node_modules/node/bin/node")" "$payload/node_modules/node/bin/node"
# What is needed at run time alone, as package-lock.json has it; of Node the binary is enough.
while read -r module; do
  mkdir -p "$payload/$(dirname "$module")"
  [ ! -e "$root/$module" ] || ln -s "$root/$module" "$payload/$module"
done < <("$root/node_modules/node/bin/node" -p '
  const { packages } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  const wanted = ([path, { dev }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && !dev && !/^node_modules\/node$/.test(path);
  Object.entries(packages).filter(wanted).map(([path]) => path).join("\n")' "$root/package-lock.json")
ln -s "$root/daemon" "$payload/daemon"
ln -s "$root/test" "$payload/test"
for built in sluice-helper sluice-launch sluice-probe libsluice.so; do ln -s "$root/build/native/$built" "$payload/build/native/"; done
# Programs of tests: the guest has no compiler.
for source in launch/inside native/calls; do
  cc -static -pthread -o "$payload/build/native/$(basename "$source")" "$root/test/$source.c" || exit 1
done
ln -s "$root/build/js/daemon" "$root/build/js/package.json" "$payload/build/js/"
