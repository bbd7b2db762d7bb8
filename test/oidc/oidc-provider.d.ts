/** The part of it that the fixture uses; the package has no types of its own. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http';
  export default class Provider {
    constructor(issuer: string, configuration: object);
    callback(): RequestListener;
    /** Of koa. */
    use(layer: (context: { path: string; body?: Record<string, unknown> }, next: () => Promise<void>) => unknown): void;
  }
}
