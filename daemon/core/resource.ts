/** A named upstream, as policy declares it. */

/** Where the real credential comes from. It is read when a flow logs in, kept in memory only as long as login takes. */
export type CredentialSource = (
  | { readonly systemd: string }
  | { readonly file: string }
  | { readonly command: readonly string[] }
) & {
  /** Account to log in as when the credential names none. Absent: the account that the client named. */
  readonly user?: string;
};

export interface Credential {
  /** Account to log in as. Absent in a source: the account that the client named. */
  readonly user?: string;
  readonly password?: string;
  /** PEM, for login by client certificate. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
}

export interface Resource {
  readonly name: string;
  readonly protocol: string;
  /** Host part of `address:` as written: an IP literal or a DNS name. */
  readonly host: string;
  readonly port: number;
  /** Further addresses under which agents reach it (`also:`), each `host:port`. */
  readonly also: readonly string[];
  readonly tls: 'verify-full' | 'verify-ca' | 'require' | 'off';
  /** Path of a PEM bundle to verify against. Absent: the system's. */
  readonly ca?: string;
  /** Absent: the client's own credential goes through to the upstream (not allowed with `login: token`). */
  readonly credential?: CredentialSource;
  /** What the client has to present to sluice: the session token as its password, or nothing. */
  readonly login: 'token' | 'none';
  /** Settings that only the protocol's folder understands, already validated by its schema. */
  readonly options: Readonly<Record<string, unknown>>;
}
