/** IQs on unauthenticated streams, such as in-band registration, if a module handles them. */
import type { Maybe } from '../../maybe.js';
import { iqKey } from '../../routing/hooks.js';
import type { LocalHost } from '../../routing/host.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import { Stanza } from '../../stanza/stanza.js';
import type { Element } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import { isUnderWay, type Negotiation } from './negotiation.js';

/** An unauthenticated stream. */
export interface UnknownClient {
  readonly host: LocalHost | undefined;
  readonly negotiation: Negotiation | undefined;
  readonly secure: boolean;
  readonly trusted: boolean;
  readonly remoteAddress: string;
  /** Whether an IQ may be refused, and the stream goes on. */
  mayRefuse(): boolean;
  /** A registration form was sent: the client has more time. */
  extendDeadline(): void;
  writeStanza(stanza: Stanza): void;
}

/** Throws StreamError('not-authorized') if the client must log in first. */
export function answerBeforeLogin(client: UnknownClient, item: TopLevel): Maybe<void> {
  const host = client.host!;
  // XEP-0388 §2.4: only authentication is allowed while it is in progress.
  if (!client.trusted || isUnderWay(client.negotiation)) throw new StreamError('not-authorized');
  const stanza = Stanza.fromTopLevel(item);
  if ((stanza.type !== 'get' && stanza.type !== 'set') || stanza.id === undefined || stanza.childCount !== 1)
    throw new StreamError('not-authorized');
  const payload = stanza.children()[0]!;
  const handler = host.hooks.beforeLogin.get(iqKey(stanza.type, payload.getNS() ?? '', payload.getName()));
  if (handler === undefined || (stanza.to !== undefined && stanza.to.full !== host.domain)) {
    // RFC 6120 §4.9.3.12, unless the client has begun to register: clients ping while their users fill in a form.
    if (!client.mayRefuse()) throw new StreamError('not-authorized');
    client.writeStanza(stanza.error(new StanzaError('not-authorized')));
    return;
  }
  const refused = (error: unknown) => {
    const answer = host.refusalOf(stanza, error);
    if (answer !== undefined) client.writeStanza(answer);
  };
  const answered = (answer: Element | undefined | void) => client.writeStanza(stanza.result(answer ?? undefined));
  try {
    const { secure, trusted, remoteAddress } = client;
    const answer = handler({
      stream: client,
      stanza,
      payload,
      secure,
      trusted,
      remoteAddress,
      extendDeadline: () => client.extendDeadline(),
    });
    if (answer instanceof Promise) return answer.then(answered, refused);
    answered(answer);
  } catch (error) {
    refused(error);
  }
}
