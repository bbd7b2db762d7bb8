// Exits 0 when node_modules holds what package-lock.json asks for. Runs under any Node from 18 on.
// npm writes what it installed to node_modules/.package-lock.json; a package that is missing there is in order only
// when it is optional (a binary for another platform).
import { readFileSync } from 'node:fs';

const top = new URL('../', import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, top), 'utf8')).packages;

function complete() {
  const wanted = read('package-lock.json');
  const installed = read('node_modules/.package-lock.json');
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = installed[path];
    return found ? found.version === entry.version && found.integrity === entry.integrity : entry.optional === true;
  });
}

try {
  process.exitCode = complete() ? 0 : 1;
} catch {
  // No node_modules, or one that npm did not write: install anew.
  process.exitCode = 1;
}
