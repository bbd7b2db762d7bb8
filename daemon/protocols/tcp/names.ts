/** Which server names are a resource's: its host, and what stands under `also:`. */
import type { Resource } from '../../core/resource.ts';

export function isNameOf({ host, also }: Resource, name: string): boolean {
  if (name === host) return true;
  return also.some((text) => {
    const other = text.toLowerCase().replace(/\.?:\d+$/, '');
    return other.startsWith('*.') ? name.endsWith(other.slice(1)) : name === other;
  });
}
