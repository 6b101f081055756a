/** The state of the orders of one host, for commands, metrics and checks. Times in ISO 8601. */
export interface AcmeStatus {
  readonly host: string;
  /** When the next order is due; null if it is not known yet. */
  readonly renewAt: string | null;
  /** Failed orders in a row, and why the last one failed. */
  readonly failures: number;
  readonly error: string | null;
  readonly nextAttempt: string | null;
  /** Domains that the certificate should have and has not, and why. */
  readonly leftOut: readonly { readonly domain: string; readonly why: string }[];
}
