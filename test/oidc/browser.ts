/** As much of a browser as logging in takes: cookies, redirects, the forms of a page with their hidden fields. */
import https from 'node:https';

interface Page {
  readonly url: URL;
  readonly status: number;
  readonly html: string;
}

export interface Visit {
  /** Of the invitation, with the code in it. */
  readonly uri: string;
  readonly login: string;
  readonly answer: 'agree' | 'refuse';
  readonly ca: string;
}

const MOST_PAGES = 20;

/** Goes through the pages until none has a form. Refusing is the last thing done. Throws when the last page does not say so. */
export async function browse({ uri, login, answer, ca }: Visit): Promise<void> {
  const cookies = new Map<string, string>();
  let page = await get(new URL(uri), 'GET', '');
  for (let n = 0; n < MOST_PAGES; n++) {
    const form = /<form[^>]*action="([^"]*)"[^>]*>(.*?)<\/form>/s.exec(page.html);
    if (form === null) break;
    const fields = new URLSearchParams();
    for (const [input] of form[2]!.matchAll(/<input[^>]*>/g)) {
      const [name, value] = ['name', 'value'].map((key) => new RegExp(`${key}="([^"]*)"`).exec(input)?.[1]);
      if (name !== undefined) fields.set(name, value ?? '');
    }
    if (fields.has('login')) fields.set('login', login);
    if (fields.has('password')) fields.set('password', 'any');
    const refuse = answer === 'refuse' && page.html.includes('name="abort"');
    if (refuse) fields.set('abort', 'yes');
    page = await get(new URL(form[1]!.replaceAll('&amp;', '&'), page.url), 'POST', fields.toString());
    if (refuse) break;
  }
  const wanted = answer === 'agree' ? /Sign-in Success/i : /interrupted/i;
  if (!wanted.test(page.html)) throw new Error(`the login ended at ${page.url.pathname} (${page.status})`);

  async function get(url: URL, method: string, body: string): Promise<Page> {
    for (let n = 0; n < MOST_PAGES; n++) {
      const answered = await ask(url, method, body);
      if (answered.location === undefined) return { url, status: answered.status, html: answered.html };
      url = new URL(answered.location, url);
      method = 'GET';
      body = '';
    }
    throw new Error('the redirects have no end');
  }

  function ask(url: URL, method: string, body: string) {
    const headers = {
      cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
      ...(method === 'POST' && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length }),
    };
    return new Promise<{ status: number; location: string | undefined; html: string }>((resolve, reject) => {
      const request = https.request(url, { method, ca, agent: false, headers }, (response) => {
        for (const cookie of response.headers['set-cookie'] ?? []) {
          const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)!;
          if (value === '') cookies.delete(name!);
          else cookies.set(name!, value!);
        }
        let html = '';
        response.setEncoding('utf8').on('data', (text: string) => (html += text));
        response.on('end', () => resolve({ status: response.statusCode!, location: response.headers.location, html }));
      });
      request.on('error', reject);
      request.end(body);
    });
  }
}
