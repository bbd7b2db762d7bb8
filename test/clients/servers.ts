/**
 * The HTTPS server of the world, a process of its own because its network is: node servers.ts DIR CERT KEY ADDRESS…
 * It has a page, a repository as git's own http-backend serves it, an index as pip asks for it and a registry as npm does.
 * Writes `ready`, then a line of JSON for each request.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TLSSocket } from 'node:tls';
import { PACKAGE, TARBALL, VERSION, WHEEL } from './wares.ts';

const PORT = 443;

export interface Request {
  readonly path: string;
  /** Name in the TLS hello; false: none. */
  readonly server: string | false;
  /** Address of the server that the client came to. */
  readonly at: string;
}

function answer(dir: string, request: IncomingMessage, response: ServerResponse): void {
  const socket = request.socket as TLSSocket & { servername?: string | false };
  const url = new URL(request.url ?? '/', `https://${request.headers.host}`);
  const line: Request = { path: url.pathname, server: socket.servername ?? false, at: socket.localAddress ?? '' };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  const file = (name: string) => createReadStream(join(dir, name)).pipe(response);
  if (url.pathname === '/') response.end(`hello from ${url.host} at ${line.at}\n`);
  else if (url.pathname.startsWith('/repo.git/')) repository(dir, url, request, response);
  else if (url.pathname === `/simple/${PACKAGE}/`)
    response.setHeader('content-type', 'text/html').end(`<a href="/files/${WHEEL}">${WHEEL}</a>`);
  else if (url.pathname === `/files/${WHEEL}`) file(WHEEL);
  else if (url.pathname === `/${PACKAGE}`) {
    const dist = { tarball: `https://${url.host}/files/${TARBALL}` };
    const versions = { [VERSION]: { name: PACKAGE, version: VERSION, dist } };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ name: PACKAGE, 'dist-tags': { latest: VERSION }, versions }));
  } else if (url.pathname === `/files/${TARBALL}`) file(TARBALL);
  else response.writeHead(404).end();
}

/** CGI (RFC 3875), as far as `git http-backend` needs it. */
function repository(dir: string, url: URL, request: IncomingMessage, response: ServerResponse): void {
  const { headers, method } = request;
  const backend = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      HOME: dir,
      GIT_PROJECT_ROOT: dir,
      GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: method,
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: headers['content-encoding'] as string,
      GIT_PROTOCOL: headers['git-protocol'] as string,
    },
  });
  backend.stdin.on('error', () => {});
  request.pipe(backend.stdin);
  let head = Buffer.alloc(0);
  const onHead = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    backend.stdout.off('data', onHead);
    for (const field of head.toString('latin1', 0, end).split('\r\n')) {
      const [name = '', value = ''] = field.split(/:\s*/, 2);
      if (name === 'Status') response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.write(head.subarray(end + 4));
    backend.stdout.pipe(response);
  };
  backend.stdout.on('data', onHead);
  backend.once('exit', (code) => {
    if (!response.headersSent) response.writeHead(500).end(`git http-backend ended with ${code}`);
  });
}

export interface Servers {
  /** What they were asked so far. */
  asked(): readonly Request[];
  stop(): Promise<void>;
}

/** Starts them as a process. `there`: before its command. */
export async function startServers(
  there: readonly string[],
  dir: string,
  pair: { readonly cert: string; readonly key: string },
  addresses: readonly string[],
): Promise<Servers> {
  const flags = ['--disable-warning=ExperimentalWarning'];
  const words = [process.execPath, ...flags, import.meta.filename, dir, pair.cert, pair.key, ...addresses];
  // When whoever started it is killed, the kernel stops it.
  const argv = [...there, 'setpriv', '--pdeathsig', 'TERM', ...words];
  const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  const asked: Request[] = [];
  const gone = once(child, 'exit');
  await new Promise<void>((resolve, reject) => {
    gone.then(() => reject(new Error('the servers ended')));
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'ready') resolve();
      else asked.push(JSON.parse(line));
    });
  });
  return {
    asked: () => asked,
    async stop() {
      child.kill();
      await gone;
    },
  };
}

if (import.meta.main) {
  const [dir = '', cert = '', key = '', ...addresses] = process.argv.slice(2);
  const options = { cert: readFileSync(cert), key: readFileSync(key) };
  for (const address of addresses) {
    const server = https.createServer(options, (request, response) => answer(dir, request, response));
    await once(server.on('tlsClientError', () => {}).listen(PORT, address), 'listening');
  }
  process.stdout.write('ready\n');
}
