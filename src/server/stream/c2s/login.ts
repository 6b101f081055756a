/**
 * Authentication on a stream: SASL (RFC 6120 §6), and SASL2 (XEP-0388) with its inline features: Bind 2 (XEP-0386),
 * stream resumption (XEP-0198), tokens (XEP-0484) and upgrades (XEP-0480). The mechanisms are in sasl/.
 */
import type { Accounts } from '../../accounts/index.js';
import { formatDateTime } from '../../stanza/datetime.js';
import { StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import type { UserAgent } from '../../stanza/user-agent.js';
import { type Element, el, elementOf } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import { increment, type StreamCounts } from '../counts.js';
import { isForNow } from '../handler.js';
import { type ChannelBindings, noBindings } from '../sasl/binding.js';
import {
  type ClientCertificate,
  type FastRequest,
  type Identity,
  SaslError,
  type SaslStep,
} from '../sasl/mechanism.js';
import { offer, offered, offeredFast, type SaslPolicy } from '../sasl/offer.js';
import type { Throttle } from '../sasl/throttle.js';
import { dueUpgrades } from '../sasl/upgrade.js';
import type { Sessions } from '../sessions/index.js';
import type { Inline, Negotiation } from './negotiation.js';
import type { C2sStream } from './stream.js';

export interface LoginParts {
  policy(stream: C2sStream): SaslPolicy;
  readonly accounts: Accounts;
  readonly throttle: Throttle;
  readonly sessions: Sessions;
  readonly counts: StreamCounts;
  attemptsPerStream(): number;
  bindings(stream: C2sStream): ChannelBindings;
  clientCertificate(stream: C2sStream): ClientCertificate | undefined;
  limitHit(limit: string): void;
}

/** XEP-0388 §2.3.1: identifies a client; should be a UUID, but not every client sends one. */
const longestClientId = 64;
/** Characters that are kept of the software and of the device. */
const longestDescription = 128;

export class Login {
  readonly #parts: LoginParts;

  constructor(parts: LoginParts) {
    this.#parts = parts;
  }

  /** Starts a login and its offer. `before`: the login before the last stream restart, whose attempts count. */
  begin(stream: C2sStream, before: Negotiation | undefined): Negotiation {
    const { accounts } = this.#parts;
    const bindings = stream.secure ? this.#parts.bindings(stream) : noBindings;
    const certificate = this.#parts.clientCertificate(stream);
    return {
      offer: offer(this.#parts.policy(stream), {
        host: stream.host!.domain,
        secure: stream.secure,
        channelBindingTypes: bindings.channelBindingTypes,
        clientCertificate: certificate,
        hashes: accounts.hashes,
      }),
      bindings,
      certificate,
      attempts: before?.attempts ?? 0,
      mechanism: '',
      tried: before?.tried,
      profile: NS.sasl,
      exchange: undefined,
      claimed: undefined,
      inline: undefined,
      identity: undefined,
      upgrades: [],
      upgrading: false,
    };
  }

  /** A SASL or SASL2 element. */
  async take(stream: C2sStream, item: TopLevel): Promise<void> {
    // RFC 6120 §6.4.6: only one authentication.
    if (stream.phase !== 'unauthenticated')
      throw new StreamError('policy-violation', 'The stream is already authenticated.');
    const { negotiation } = stream;
    if (negotiation === undefined) {
      stream.writeElement(failure(item.ns, new SaslError('encryption-required')));
      return;
    }
    try {
      await this.#step(stream, negotiation, item);
    } catch (error) {
      const failure = isForNow(error) ? new SaslError('temporary-auth-failure', 'Try again later.') : error;
      if (!(failure instanceof SaslError)) throw error;
      await this.#failed(stream, negotiation, item.ns, failure);
    }
  }

  async #step(stream: C2sStream, negotiation: Negotiation, item: TopLevel): Promise<void> {
    const start = item.ns === NS.sasl ? 'auth' : 'authenticate';
    if (item.name === start) {
      // XEP-0388 §4.9: a client with pending tasks has already authenticated.
      if (negotiation.identity !== undefined)
        throw new StreamError('policy-violation', 'The stream is already authenticated.');
      if (negotiation.exchange !== undefined)
        throw new SaslError('malformed-request', 'an exchange is already in progress');
      return this.#start(stream, negotiation, item);
    }
    if (item.ns !== negotiation.profile) throw new SaslError('malformed-request');
    if (item.name === 'abort') throw new SaslError('aborted');
    if (negotiation.identity !== undefined) return this.#task(stream, negotiation, item);
    const { exchange } = negotiation;
    if (item.name !== 'response' || exchange === undefined) throw new SaslError('malformed-request');
    return this.#took(stream, negotiation, await exchange.step(message(item.content, item.ns)));
  }

  async #start(stream: C2sStream, negotiation: Negotiation, item: TopLevel): Promise<void> {
    const name = item.attrs.mechanism ?? '';
    const element = item.ns === NS.sasl2 ? elementOf(item) : undefined;
    const inline = element === undefined ? undefined : readInline(element);
    const fastElement = element?.getChild('fast', NS.fast);
    const policy = this.#parts.policy(stream);
    const mechanism =
      fastElement === undefined ? offered(negotiation.offer, name, policy) : offeredFast(negotiation.offer, name);
    if (mechanism === undefined) throw new SaslError('invalid-mechanism');
    negotiation.profile = item.ns === NS.sasl ? NS.sasl : NS.sasl2;
    negotiation.inline = inline;
    negotiation.mechanism = mechanism.name;
    // RFC 6120 §6.4.2: no initial response is not an empty one, which is "=" there and an empty element here.
    const initial =
      element === undefined ? item.content || null : (only(element, 'initial-response', NS.sasl2)?.getText() ?? null);
    negotiation.exchange = mechanism.start({
      host: stream.host!.domain,
      // A connection that is trusted for login counts as secure.
      secure: stream.secure || stream.trusted,
      ...negotiation.bindings,
      channelBindingTypes: negotiation.offer.channelBindingTypes,
      mechanisms: negotiation.offer.mechanisms,
      clientCertificate: negotiation.certificate,
      fast: fastElement === undefined ? undefined : readFast(fastElement, inline?.agent.clientId),
      from: stream.claimed,
      accounts: this.#parts.accounts,
      isHere: (jid) => this.#parts.sessions.isHere(jid),
      admit: (bare) => {
        negotiation.claimed = bare;
        this.#checkLockout(stream, bare);
      },
    });
    const first = initial === null ? undefined : message(initial, item.ns);
    await this.#took(stream, negotiation, await negotiation.exchange.step(first));
  }

  /** Throws LockedOut if passwords for the account are refused from this address. */
  #checkLockout(stream: C2sStream, account: string): void {
    const limit = this.#parts.throttle.refusal(stream.remoteAddress, account);
    if (limit === undefined) return;
    this.#parts.limitHit(`auth.${limit}`);
    throw new LockedOut();
  }

  #took(stream: C2sStream, negotiation: Negotiation, step: SaslStep): Promise<void> | void {
    if (step.challenge !== undefined) {
      stream.writeElement(el('challenge', { xmlns: negotiation.profile }, step.challenge.toString('base64')));
      return;
    }
    return this.#proved(stream, negotiation, step.success, step.data);
  }

  /** The mechanism has succeeded. Processes the inline requests. */
  async #proved(
    stream: C2sStream,
    negotiation: Negotiation,
    identity: Identity,
    data: Buffer | undefined,
  ): Promise<void> {
    // Many connections may check passwords in parallel: past the limit, even the right one is refused.
    if (negotiation.claimed !== undefined) this.#checkLockout(stream, negotiation.claimed);
    if (negotiation.profile === NS.sasl) {
      await this.#accept(stream, negotiation, identity);
      stream.writeElement(el('success', { xmlns: NS.sasl }, data?.toString('base64')));
      stream.restart();
      return;
    }
    const { inline } = negotiation;
    if (inline !== undefined && inline.upgrades.length > 0) {
      negotiation.upgrades = await dueUpgrades(identity, inline.upgrades, this.#parts.accounts);
      if (negotiation.upgrades.length > 0) {
        negotiation.identity = identity;
        this.#continue(stream, negotiation, data);
        return;
      }
    }
    await this.#succeed(stream, negotiation, identity, data);
  }

  /** From here on the stream belongs to the account. */
  async #accept(stream: C2sStream, negotiation: Negotiation, identity: Identity): Promise<void> {
    const { accounts, throttle, counts } = this.#parts;
    // The account may have been deleted, or its password changed, during the exchange.
    if (!identity.anonymous && !(await accounts.isCurrent(identity))) throw new SaslError('not-authorized');
    if (!identity.anonymous) {
      throttle.succeeded(stream.remoteAddress, identity.jid.bare);
      accounts.noteLogin(identity.jid.bare);
    }
    increment(counts.logins, identity.mechanism);
    negotiation.exchange = undefined;
    stream.authenticated(identity.jid, identity.mechanism);
  }

  /** XEP-0388 §2.6.1: `<success/>` with the results of all inline requests. */
  async #succeed(
    stream: C2sStream,
    negotiation: Negotiation,
    identity: Identity,
    data: Buffer | undefined,
  ): Promise<void> {
    const { inline } = negotiation;
    await this.#accept(stream, negotiation, identity);
    const token = await this.#token(identity, negotiation);
    const sendSuccess = (...answers: (Element | undefined)[]) =>
      stream.writeElement(
        el(
          'success',
          { xmlns: NS.sasl2 },
          additionalData(data),
          el('authorization-identifier', null, (stream.session?.jid ?? identity.jid).full),
          token,
          ...answers,
        ),
      );
    let failed: Element | undefined;
    if (inline?.resume !== undefined) {
      failed = await this.#parts.sessions.resuming.resume(stream, inline.resume.previd, inline.resume.h, sendSuccess);
      // XEP-0198 §9.2: a resumed stream already has its features, and XEP-0386 §3.2: its resource.
      if (failed === undefined) return;
    }
    if (inline?.bind === undefined) {
      sendSuccess(failed);
      stream.sendFeatures();
      return;
    }
    const bound = await this.#parts.sessions.binding.bind2(stream, inline.bind);
    const held = stream.release();
    sendSuccess(failed, bound);
    stream.sendFeatures();
    for (const xml of held) stream.write(xml);
    await this.#parts.sessions.binding.announce(stream);
  }

  /** XEP-0484 §3.3, §3.5: issues a token if one was requested, or if the used one is due for rotation. */
  async #token(identity: Identity, { inline, offer }: Negotiation): Promise<Element | undefined> {
    const { clientId, ...agent } = inline?.agent ?? {};
    const wanted = inline?.requestToken ?? (inline?.invalidate === true ? undefined : identity.tokenDue);
    const mechanism = offer.fast.find((name) => name === wanted);
    if (clientId === undefined || mechanism === undefined || identity.epoch === undefined) return undefined;
    const { token, expires } = await this.#parts.accounts.tokens.issue(identity.jid.bare, {
      clientId,
      mechanism,
      epoch: identity.epoch,
      login: identity.mechanism,
      agent,
    });
    return el('token', { xmlns: NS.fast, token, expiry: formatDateTime(expires) });
  }

  // --- XEP-0480 ---------------------------------------------------------------------------------------------------

  /** XEP-0388 §2.6.3: tasks run one after the other. */
  #continue(stream: C2sStream, { upgrades }: Negotiation, data?: Buffer): void {
    stream.writeElement(
      el('continue', { xmlns: NS.sasl2 }, additionalData(data), el('tasks', null, el('task', null, upgrades[0]!.task))),
    );
  }

  async #task(stream: C2sStream, negotiation: Negotiation, item: TopLevel): Promise<void> {
    const upgrade = negotiation.upgrades[0]!;
    const element = elementOf(item);
    if (!negotiation.upgrading) {
      if (item.name !== 'next' || item.attrs.task !== upgrade.task) throw new SaslError('malformed-request');
      negotiation.upgrading = true;
      stream.writeElement(
        el(
          'task-data',
          { xmlns: NS.sasl2 },
          el(
            'salt',
            { xmlns: NS.scramUpgrade, iterations: String(upgrade.iterations) },
            upgrade.salt.toString('base64'),
          ),
        ),
      );
      return;
    }
    const hash = item.name === 'task-data' ? element.getChildText('hash', NS.scramUpgrade) : null;
    if (hash === null || hash === '') throw new SaslError('malformed-request');
    await upgrade.finish(message(hash, item.ns));
    negotiation.upgrading = false;
    negotiation.upgrades.shift();
    if (negotiation.upgrades.length > 0) return this.#continue(stream, negotiation);
    return this.#succeed(stream, negotiation, negotiation.identity!, undefined);
  }

  // --- failures ---------------------------------------------------------------------------------------------------

  /** Each failure is answered more slowly; after some attempts the stream closes (RFC 6120 §6.4.5). */
  async #failed(stream: C2sStream, negotiation: Negotiation, ns: string, error: SaslError): Promise<void> {
    const { throttle } = this.#parts;
    const { claimed, mechanism, tried } = negotiation;
    negotiation.exchange = undefined;
    negotiation.claimed = undefined;
    negotiation.identity = undefined;
    negotiation.upgrades = [];
    negotiation.upgrading = false;
    negotiation.inline = undefined;
    if (tried !== undefined && tried.account === claimed && !tried.mechanisms.has(mechanism)) {
      tried.mechanisms.add(mechanism);
    } else {
      negotiation.attempts++;
      negotiation.tried =
        claimed === undefined ? undefined : { account: claimed, mechanisms: new Set([mechanism]), counted: false };
    }
    const attempt = negotiation.tried;
    if (claimed !== undefined && attempt !== undefined && error.condition === 'not-authorized') {
      const limit = throttle.refusal(stream.remoteAddress, claimed);
      if (limit !== undefined) {
        this.#parts.limitHit(`auth.${limit}`);
        return this.#sendFailure(stream, negotiation, ns, new LockedOut());
      }
      if (!attempt.counted) {
        attempt.counted = true;
        const { delay, answered } = throttle.failed(stream.remoteAddress, claimed);
        if (delay > 0) await wait(delay);
        answered();
      }
    }
    return this.#sendFailure(stream, negotiation, ns, error);
  }

  async #sendFailure(stream: C2sStream, negotiation: Negotiation, ns: string, error: SaslError): Promise<void> {
    increment(this.#parts.counts.loginFailures, error.condition);
    if (error instanceof LockedOut) await wait(lockoutDelayMs);
    stream.writeElement(failure(ns, error));
    if (negotiation.attempts >= this.#parts.attemptsPerStream()) {
      this.#parts.limitHit('auth.attempts_per_stream');
      throw new StreamError('policy-violation', 'Too many failed login attempts.');
    }
  }
}

const wait = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });

/** Too many earlier failures. The reply is delayed, so that the client does not retry at once. */
class LockedOut extends SaslError {
  constructor() {
    super('temporary-auth-failure', 'Too many failed logins. Try again later.');
  }
}
const lockoutDelayMs = 1000;

function failure(ns: string, error: SaslError): Element {
  return el(
    'failure',
    { xmlns: ns },
    el(error.condition, { xmlns: NS.sasl }),
    error.text === undefined ? undefined : el('text', { 'xml:lang': 'en' }, error.text),
  );
}

/** Decodes strict base64 (RFC 6120 §6.5.5, §13.9.1); only SASL2 allows surrounding white space. */
function message(text: string, ns: string): Buffer {
  const encoded = ns === NS.sasl2 ? text.trim() : text;
  if (encoded === '=') return Buffer.alloc(0);
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) throw new SaslError('incorrect-encoding');
  return bytes;
}

function additionalData(data: Buffer | undefined): Element | undefined {
  return data === undefined ? undefined : el('additional-data', null, data.toString('base64'));
}

function readFast(element: Element, clientId: string | undefined): FastRequest {
  const { count, invalidate } = element.attrs;
  if (count !== undefined && !/^\d{1,15}$/.test(count)) throw new SaslError('malformed-request');
  return {
    clientId: clientId ?? '',
    count: count === undefined ? undefined : Number(count),
    invalidate: invalidate === 'true' || invalidate === '1',
  };
}

/** The child of this name. SASL2 and Bind 2 allow each at most once; throws SaslError on a second. */
function only(element: Element, name: string, ns: string): Element | undefined {
  const [first, second] = element.getChildren(name, ns);
  if (second !== undefined) throw new SaslError('malformed-request', `more than one <${name}/>`);
  return first;
}

function readInline(element: Element): Inline {
  const agent = only(element, 'user-agent', NS.sasl2);
  const id = agent?.attrs.id;
  const bind = only(element, 'bind', NS.bind2);
  const resume = only(element, 'resume', NS.sm);
  const fast = only(element, 'fast', NS.fast);
  const text = (name: string) => agent?.getChildText(name, NS.sasl2)?.slice(0, longestDescription) || undefined;
  const described: UserAgent = {
    clientId: id === undefined || id === '' || id.length > longestClientId ? undefined : id,
    software: text('software'),
    device: text('device'),
  };
  return {
    agent: described,
    bind:
      bind === undefined
        ? undefined
        : {
            tag: only(bind, 'tag', NS.bind2)?.getText(),
            agent: described,
            features: bind.getChildElements().filter((child) => child.getNS() !== NS.bind2),
          },
    resume: resume === undefined ? undefined : { previd: resume.attrs.previd, h: resume.attrs.h },
    requestToken: only(element, 'request-token', NS.fast)?.attrs.mechanism,
    invalidate: fast?.attrs.invalidate === 'true' || fast?.attrs.invalidate === '1',
    upgrades: [...new Set(element.getChildren('upgrade', NS.saslUpgrade).map((task) => task.getText()))],
  };
}
