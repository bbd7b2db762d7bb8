/** What the package is made of, as CycloneDX 1.6: npm packages, Node, and the Debian libraries that it is linked to. */
import { createHash } from 'node:crypto';
import type { NodeBinary, NpmPackage } from './npm.ts';
import type { Target } from './target.ts';

export interface Parts {
  readonly version: string;
  readonly date: Date;
  readonly target: Target;
  readonly packages: readonly NpmPackage[];
  readonly node: NodeBinary;
  /** As in Depends: `libbpf1 (>= 1:0.6.1)`. */
  readonly depends: string;
}

const hex = (integrity: string): string => Buffer.from(integrity.replace(/^sha512-/, ''), 'base64').toString('hex');

/** The same parts give the same text. */
export function sbom({ version, date, target, packages, node, depends }: Parts): string {
  const root = `pkg:deb/debian/sluice@${version}?arch=${target.debian}`;
  const npm = packages.map(({ name, version: at, integrity, license }) => ({
    type: 'library',
    'bom-ref': `pkg:npm/${name.replace('@', '%40')}@${at}`,
    name,
    version: at,
    hashes: [{ alg: 'SHA-512', content: hex(integrity) }],
    ...(license === '' ? {} : { licenses: [{ license: { id: license } }] }),
    purl: `pkg:npm/${name.replace('@', '%40')}@${at}`,
  }));
  const runtime = {
    type: 'platform',
    'bom-ref': `pkg:npm/${node.name}@${node.version}`,
    name: 'node',
    version: node.version,
    description: 'the binary of Node.js, from the npm package of this architecture; its checksum is of that package',
    hashes: [{ alg: 'SHA-512', content: hex(node.integrity) }],
    licenses: [{ license: { id: 'MIT' } }],
    purl: `pkg:npm/${node.name}@${node.version}`,
    cpe: `cpe:2.3:a:nodejs:node.js:${node.version}:*:*:*:lts:*:*:*`,
  };
  const linked = depends.split(', ').map((depend) => {
    const [, name, least] = /^(\S+)(?: \(>= (.*)\))?$/.exec(depend)!;
    return {
      type: 'library',
      'bom-ref': `pkg:deb/debian/${name}?arch=${target.debian}`,
      name: name!,
      description: `linked, from the host${least === undefined ? '' : `: ${least} or later`}`,
      scope: 'required',
      purl: `pkg:deb/debian/${name}?arch=${target.debian}`,
    };
  });
  // A package may stand in two places.
  const components = [...new Map([...npm, runtime, ...linked].map((one) => [one['bom-ref'], one])).values()];
  const body = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: date.toISOString().replace('.000Z', 'Z'),
      component: {
        type: 'application',
        'bom-ref': root,
        name: 'sluice',
        version,
        licenses: [{ license: { id: 'Apache-2.0' } }],
        purl: root,
      },
    },
    components,
    dependencies: [{ ref: root, dependsOn: components.map((one) => one['bom-ref']) }],
  };
  const digest = createHash('sha256').update(JSON.stringify(body)).digest('hex');
  // A UUID of version 8 (RFC 9562), made of the content.
  const uuid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
  const { $schema, bomFormat, specVersion, ...rest } = body;
  return `${JSON.stringify({ $schema, bomFormat, specVersion, serialNumber: `urn:uuid:${uuid}`, ...rest }, null, 2)}\n`;
}
