/** Messages of ACME (RFC 8555 §7.1), as far as they are used. What an authority sends is checked before use. */
import { z } from 'zod';

const url = z.string().startsWith('https://').max(2000);

export const directorySchema = z.object({
  newNonce: url,
  newAccount: url,
  newOrder: url,
  revokeCert: url.optional(),
  /** RFC 9773. */
  renewalInfo: url.optional(),
  meta: z.object({ termsOfService: z.string().optional(), externalAccountRequired: z.boolean().optional() }).optional(),
});
export type Directory = z.output<typeof directorySchema>;

const identifier = z.object({ type: z.string(), value: z.string() });

/** §6.7. */
const problem = z.object({
  type: z.string().default('about:blank'),
  detail: z.string().default(''),
  subproblems: z
    .array(
      z.object({ type: z.string().default(''), detail: z.string().default(''), identifier: identifier.optional() }),
    )
    .optional(),
});
export type Problem = z.output<typeof problem>;
export const problemSchema = problem;

/** §7.1.3. */
export const orderSchema = z.object({
  status: z.string(),
  authorizations: z.array(url).max(200),
  finalize: url,
  certificate: url.optional(),
  error: problem.optional(),
});
export type Order = z.output<typeof orderSchema>;

export const challengeTypes = ['http-01', 'tls-alpn-01', 'dns-01'] as const;
export type ChallengeType = (typeof challengeTypes)[number];

/** §7.1.4. */
export const authorizationSchema = z.object({
  status: z.string(),
  identifier,
  wildcard: z.boolean().optional(),
  challenges: z.array(
    z.object({
      type: z.string(),
      url,
      // §8.1: base64url; at least 128 bits of entropy
      token: z
        .string()
        .regex(/^[A-Za-z0-9_-]{16,200}$/)
        .optional(),
      error: problem.optional(),
    }),
  ),
});
export type Authorization = z.output<typeof authorizationSchema>;

/** RFC 9773 §4.2. */
export const renewalInfoSchema = z.object({
  suggestedWindow: z.object({ start: z.iso.datetime({ offset: true }), end: z.iso.datetime({ offset: true }) }),
  explanationURL: z.string().optional(),
});

/** The authority refused a request. */
export class AcmeError extends Error {
  override readonly name = 'AcmeError';
  constructor(
    /** The last part of the problem's URN, such as `rateLimited`. */
    readonly type: string,
    detail: string,
    /** Seconds to wait, if the authority said so. */
    readonly retryAfter?: number,
  ) {
    super(detail === '' ? type : `${detail} (${type})`);
  }
}

/** The authority could not verify some of the domains. */
export class UnverifiedError extends Error {
  override readonly name = 'UnverifiedError';
  constructor(
    readonly domains: readonly string[],
    problems: readonly string[],
  ) {
    super(`the authority could not verify ${problems.join('; ')}`);
  }
}

/** A text of one line, with the problems of the names. */
export function describeProblem({ detail, subproblems = [] }: Problem): string {
  const parts = subproblems.slice(0, 20).map((one) => `${one.identifier?.value ?? ''}: ${one.detail}`);
  return [detail, ...parts].join('; ').replace(/\s+/g, ' ').slice(0, 1000);
}

export const problemType = ({ type }: Problem): string => type.replace(/^urn:ietf:params:acme:error:/, '');
