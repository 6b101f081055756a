/**
 * Registration by HTTP, in the form that the app server of Monal and Yaxim has, for apps that do not tell their token to the
 * user's server. An account proves itself by a token that it gets by an ad-hoc command.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { addressBlock } from '../../server/config/address.js';
import type { Rates } from '../../server/limits/rates.js';
import {
  answers,
  defineQuestion,
  type Host,
  type HttpAnswer,
  HttpError,
  type HttpRequest,
  http,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { CommandsParts } from './commands.js';
import { kindIn, nameIn, provedBy, registrationIn } from './registering.js';

export interface HttpParts extends Omit<CommandsParts, 'proof' | 'vapidKey' | 'list' | 'access'> {
  readonly host: Host;
  /** Of registrations, by the address of the client. */
  readonly rates: Rates;
  key(): Promise<Buffer>;
}

export const path = '/push/v1';
const largestForm = 8192;
const longestProof = 4096;

/** Asked at the gateway's home. */
const question = defineQuestion({
  name: 'push_gateway.by_http',
  given: z.object({
    how: z.enum(['register', 'unregister']),
    proof: z.string(),
    fields: z.record(z.string(), z.string()),
  }),
  answer: z.union([z.object({ lines: z.array(z.string()) }), z.object({ status: z.number(), why: z.string() })]),
});

export function byHttp(parts: HttpParts) {
  const { host, address, rates, kinds } = parts;
  const own = Jid.parse(address);

  const handle =
    (how: 'register' | 'unregister') =>
    async (request: HttpRequest): Promise<HttpAnswer> => {
      if (!rates.take(addressBlock(request.address))) {
        host.limitHit('push_gateway.registrations_per_hour');
        throw new HttpError(429, 'Too many registrations. Try again later.');
      }
      if (!/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(request.headers['content-type'] ?? ''))
        throw new HttpError(415, 'Send a form.');
      const [, proof = ''] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
      const fields = Object.fromEntries(new URLSearchParams(request.body.toString()));
      const answer = await host.askHome(question, own, { how, proof: proof.slice(0, longestProof), fields });
      if ('lines' in answer)
        return { headers: { 'cache-control': 'no-store' }, body: `${['OK', ...answer.lines].join('\n')}\n` };
      throw new HttpError(
        answer.status,
        answer.why,
        answer.status === 401 ? { headers: { 'www-authenticate': 'Bearer' } } : {},
      );
    };

  return [
    http('POST', `${path}/register`, handle('register'), { body: largestForm }),
    http('POST', `${path}/unregister`, handle('unregister'), { body: largestForm }),
    answers(question, async ({ how, proof, fields }) => {
      const user = provedBy(await parts.key(), proof, wall());
      if (user === undefined) return { status: 401, why: 'The token is not valid or has expired.' };
      const given = new Map(Object.entries(fields));
      try {
        const kind = kindIn(given, kinds);
        if (how === 'unregister') {
          await parts.unregister(user, [kind], nameIn(given) ?? given.get('endpoint') ?? given.get('token'));
          return { lines: [] };
        }
        const { node, secret } = await parts.register(user, registrationIn(kind, given, parts.checkEndpoint));
        return { lines: [node, secret] };
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
        return { status: error.condition === 'resource-constraint' ? 429 : 400, why: error.message };
      }
    }),
  ];
}
