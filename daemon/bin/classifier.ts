/**
 * SQL of test cases and of `explain`, judged as the daemon judges it: by the catalog of a real database. Nothing of it
 * runs there; the server is asked only for its catalog and for the names of result columns.
 */
import { SluiceError } from '../core/errors.ts';
import type { Credential, Resource } from '../core/resource.ts';
import type { Classified, Classifier } from '../policy/cases.ts';
import type { QueryClient } from '../protocols/postgres/login/client.ts';
import { Analyzer } from '../protocols/postgres/sql/analyzer.ts';
import { CatalogSource } from '../protocols/postgres/sql/catalog.ts';
import type { Analysis, Names, Origin } from '../protocols/postgres/sql/model.ts';
import { SqlParser } from '../protocols/postgres/sql/parser.ts';
import { protect } from '../protocols/postgres/sql/protect.ts';
import { connectCatalog } from './connection.ts';

const SHAPE = 'postgres://user:password@host:port/database, with ?sslmode=verify-full or another for TLS';

/**
 * `url`: as --database and SLUICE_POLICY_DATABASE give it.
 * @throws SluiceError CATALOG_UNAVAILABLE without a URL, CONFIG_INVALID on one that is not understood, and those of the
 *   connection
 */
export async function openClassifier(url: string | undefined): Promise<Classifier> {
  if (url === undefined || url === '')
    throw new SluiceError(
      'CATALOG_UNAVAILABLE',
      'SQL is judged by the catalog of a real database, and none is named: give --database or SLUICE_POLICY_DATABASE',
      { hint: `as ${SHAPE}` },
    );
  const { resource, credential, account, database } = readUrl(url);
  const connection = await connectCatalog(resource, credential, account, database);
  const parser = new SqlParser();
  const close = async (): Promise<void> => {
    connection.client.end();
    connection.close();
    await parser.close();
  };
  try {
    const catalog = await new CatalogSource(connection.client).catalog();
    const names: Names = { catalog, paths: [catalog.searchPath], prepared: new Map(), cursors: new Map() };
    const analyzer = new Analyzer(parser);
    return {
      async classify({ name, protocol }, text) {
        if (protocol !== 'postgres')
          throw new SluiceError('CONFIG_INVALID', `${name} speaks ${protocol}, whose texts can't be classified`);
        const classified: Classified[] = [];
        for (const analysis of await analyzer.analyze(text, names))
          classified.push(await classify(analysis, names, connection.client));
        return classified;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function classify(analysis: Analysis, names: Names, client: QueryClient): Promise<Classified> {
  const columns = await columnsOf(analysis, client);
  return {
    operation: analysis.operation,
    masked(obligations) {
      const { outputs } = protect(analysis, obligations, names);
      const masked = outputs === 'all' ? null : outputs.flatMap((mask, i) => (mask === null ? [] : [i]));
      if (masked?.length === 0) return [];
      if (columns instanceof SluiceError) throw columns;
      if (masked === null) return columns ?? ['*'];
      return masked.map((i) => columns?.[i] ?? ownName(analysis.outputs?.[i]) ?? `#${i + 1}`);
    },
    refused: (obligations) => analysis.forbidden ?? protect(analysis, obligations, names).refuse?.reason ?? null,
  };
}

/**
 * As the server names them; null: it names none (COPY). An error is one only for who asks for names: a table that is not
 * there can be denied all the same.
 */
async function columnsOf(
  { operation, outputs }: Analysis,
  client: QueryClient,
): Promise<readonly string[] | null | SluiceError> {
  if (outputs?.length === 0) return null;
  try {
    const columns = await client.columns(operation.text);
    if (columns === null || outputs === null || columns.length === outputs.length) return columns;
    return new SluiceError(
      'CATALOG_UNAVAILABLE',
      `the server sees ${columns.length} result columns and the analysis ${outputs.length}: has the database changed?`,
    );
  } catch (error) {
    if (error instanceof SluiceError && error.code === 'UPSTREAM_QUERY') return error;
    throw error;
  }
}

function ownName(origin: Origin | undefined): string | undefined {
  return origin?.plain === true && origin.columns.length === 1 ? origin.columns[0]!.column.name : undefined;
}

const TLS: Readonly<Record<string, Resource['tls']>> = {
  disable: 'off',
  require: 'require',
  'verify-ca': 'verify-ca',
  'verify-full': 'verify-full',
};

/** The parts of a connection URI as libpq has them, without TLS where `sslmode` is absent. Errors never quote it: it holds a password. */
function readUrl(text: string): { resource: Resource; credential: Credential; account: string; database: string } {
  const wrong = (what: string): SluiceError =>
    new SluiceError('CONFIG_INVALID', `the URL of the database ${what}`, { hint: `write ${SHAPE}` });
  let url: URL;
  let account: string;
  let password: string;
  let database: string;
  let host: string;
  try {
    url = new URL(text);
    const parts = [url.username, url.password, url.pathname.slice(1), url.hostname];
    [account, password, database, host] = parts.map(decodeURIComponent) as [string, string, string, string];
  } catch {
    throw wrong('is none');
  }
  if (!/^postgres(ql)?:$/.test(url.protocol)) throw wrong('does not begin with postgres://');
  if (host === '') throw wrong('names no host');
  if (account === '') throw wrong('names no user');
  const { sslmode = 'disable', sslrootcert, ...others } = Object.fromEntries(url.searchParams);
  const [other] = Object.keys(others);
  if (other !== undefined) throw wrong(`has the parameter ${other}; known are sslmode and sslrootcert`);
  const tls = TLS[sslmode];
  if (tls === undefined) throw wrong(`has another sslmode than ${Object.keys(TLS).join(', ')}`);
  const resource: Resource = {
    name: 'the database of the cases',
    protocol: 'postgres',
    host: host.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 5432 : Number(url.port),
    also: [],
    tls,
    ...(sslrootcert === undefined ? {} : { ca: sslrootcert }),
    login: 'none',
    options: {},
  };
  return { resource, credential: password === '' ? {} : { password }, account, database: database || account };
}
