/** What the demo shows, in the order it shows it. Every command is run as it is printed. */
import { createInterface } from 'node:readline/promises';
import { finished } from '../test/harness/child.ts';
import type { Page } from './page.ts';
import type { Shop } from './shop.ts';

/** From here on a status means that the command was not run or was killed: sluice-launch --help. */
const NOT_RUN = 125;

/** Words as a shell would need them. */
function typed(argv: readonly string[]): string {
  return argv
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `"${word.replaceAll(/(["$`\\])/g, '\\$1')}"`))
    .join(' ');
}

export class Story {
  readonly #shop: Shop;
  readonly #page: Page;

  constructor(shop: Shop, page: Page) {
    this.#shop = shop;
    this.#page = page;
  }

  async tell(): Promise<void> {
    await this.#masks();
    await this.#refusal();
    await this.#approval();
    await this.#wayRound();
    await this.#record();
  }

  /** Runs and shows an agent's command. */
  async #agent(argv: readonly string[]): Promise<void> {
    this.#page.command(`sluice run -- ${typed(argv)}`);
    const { status, stdout, stderr } = await this.#shop.stack.run(argv, { env: this.#shop.env });
    this.#page.output(stdout + stderr);
    if (status >= NOT_RUN) throw new Error(`that was not meant to happen: ${argv[0]} ended with status ${status}`);
  }

  /** Runs and shows a command of yours. */
  async #host(argv: readonly string[]): Promise<void> {
    this.#page.command(`sluice ${typed(argv)}`);
    const { status, stdout, stderr } = await this.#shop.stack.sluice(argv);
    this.#page.output(stdout + stderr);
    if (status !== 0) throw new Error(`that was not meant to happen: sluice ended with status ${status}`);
  }

  /** What the database itself says, past sluice. */
  async #direct(sql: string): Promise<void> {
    this.#page.say(`(straight from the database: ${sql}  →  ${await this.#shop.database.psql(sql, 'shop')})`);
  }

  async #masks(): Promise<void> {
    this.#page.step('The agent reads, and protected columns come masked');
    await this.#agent(['psql', '-c', 'SELECT id, name, email, ssn FROM people ORDER BY id']);
    await this.#agent([
      'psql',
      '-c',
      "SELECT p.name, o.item, 'it is ' || p.ssn AS note FROM orders o JOIN people p ON p.id = o.person_id ORDER BY o.id",
    ]);
  }

  async #refusal(): Promise<void> {
    this.#page.step('It tries to drop a table, and is told why not');
    await this.#agent(['psql', '-c', 'DROP TABLE orders']);
  }

  async #approval(): Promise<void> {
    const sql = 'UPDATE orders SET quantity = quantity + 1 WHERE id = 3';
    const argv = ['psql', '-c', sql];
    this.#page.step('It writes, and a person is asked');
    await this.#direct('SELECT quantity FROM orders WHERE id = 3');
    this.#page.command(`sluice run -- ${typed(argv)}`);
    const child = this.#shop.stack.agent(argv, { env: this.#shop.env });
    const result = finished(child);
    let notice = '';
    const id = await new Promise<string | null>((resolve) => {
      child.stderr?.on('data', (text: string) => {
        notice += text;
        const held = /held for approval ([\w-]+)\n(?:.*\n)*/.exec(notice);
        if (held !== null) resolve(held[1]!);
      });
      void result.then(() => resolve(null));
    });
    this.#page.output(notice);
    if (id === null) throw new Error('the UPDATE was not held');
    const shown = notice.length;
    this.#page.say('… psql waits. You see this:');
    await this.#host(['approvals', 'show', id]);
    const yes = await this.#asked();
    await this.#host(['approvals', yes ? 'approve' : 'deny', id]);
    const { stdout, stderr } = await result;
    this.#page.say('');
    this.#page.say('… and psql goes on:');
    this.#page.output(stderr.slice(shown) + stdout);
    await this.#direct('SELECT quantity FROM orders WHERE id = 3');
  }

  async #asked(): Promise<boolean> {
    this.#page.say('');
    if (!process.stdin.isTTY) {
      this.#page.say('There is no terminal to ask at, so the demo approves by itself.');
      return true;
    }
    const terminal = createInterface({ input: process.stdin, output: process.stdout });
    // readline takes Ctrl-C for itself.
    terminal.on('SIGINT', () => {
      process.stdout.write('\n');
      process.kill(process.pid, 'SIGINT');
    });
    const answer = await terminal.question('   Approve it? [Y/n] ');
    terminal.close();
    return !/^n/i.test(answer.trim());
  }

  async #wayRound(): Promise<void> {
    const { database, sideDoor } = this.#shop;
    const anyone = ['-U', 'postgres', '-d', 'shop', '-c', 'SELECT ssn FROM people'];
    this.#page.step('It tries to go round: another port, IPv6, a raw socket');
    this.#page.say(
      `The database also answers on port ${sideDoor} and on ::1, and takes the superuser without a password.`,
    );
    await this.#agent(['psql', '-h', '127.0.0.1', '-p', String(sideDoor), ...anyone]);
    await this.#agent(['psql', '-h', '::1', '-p', String(database.port), ...anyone]);
    await this.#agent(['python3', '-c', 'import socket as s; s.socket(s.AF_INET, s.SOCK_RAW, s.IPPROTO_TCP)']);
  }

  async #record(): Promise<void> {
    this.#page.step('All of it is on record');
    const approvals = ['requested', 'decided', 'used'].map((what) => `TYPE=approval.${what}`);
    await this.#host(['audit', 'TYPE=operation', ...approvals, '+', 'TYPE=flow.start', 'DECISION=deny']);
    this.#page.say('');
    this.#page.say('(The raw socket is not there: the kernel refused it before there was a connection.)');
    await this.#host(['verify']);
  }
}
