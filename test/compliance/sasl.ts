/** Logging in by the profiles of RFC 6120 §6 and XEP-0388, for dialogues about how that is done. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { base64, type ConnectOptions, type Peer, password, plain, type Scene } from './dialogue.js';
import { type Hash, Scram } from './scram.js';

export type BindingType = 'tls-exporter' | 'tls-server-end-point';

/** The client's channel binding. */
export function bindingOf(peer: Peer, type: BindingType): Buffer {
  const socket = peer.tls!;
  return type === 'tls-exporter'
    ? socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
    : createHash('sha256').update(socket.getPeerCertificate().raw).digest();
}

/** Connected, and offered something: the features too. */
export async function greeted(
  connect: Scene['connect'],
  options: ConnectOptions = {},
  header: Readonly<Record<string, string>> = {},
): Promise<[Peer, Element]> {
  const peer = await connect(options);
  await peer.opens(header);
  return [peer, await peer.receivesFeatures()];
}

/** A SCRAM-SHA-256-PLUS mechanism's hash. */
export const hashOf = (mechanism: string): Hash => /^SCRAM-(SHA-\d+)/.exec(mechanism)![1] as Hash;

export interface Attempt {
  readonly mechanism?: string;
  readonly user?: string;
  readonly secret?: string;
  /** The GS2 header; where it is left out, what fits the mechanism. */
  readonly header?: string;
  readonly binding?: BindingType | Buffer;
  /** XEP-0388, with further children of `<authenticate/>`. */
  readonly inline?: string;
  /** Modifies the client's message in transit. */
  readonly first?: (message: string) => string;
  readonly final?: (message: string) => string;
}

/** A whole SCRAM exchange. Returns what ended it: `<success/>`, `<continue/>` or `<failure/>`; the client checks the first two. */
export async function attempts(peer: Peer, attempt: Attempt = {}): Promise<Element> {
  const { mechanism = 'SCRAM-SHA-1', user = 'romeo', secret = password, inline } = attempt;
  const same = (text: string) => text;
  const { first = same, final = same } = attempt;
  const ns = inline === undefined ? NS.sasl : NS.sasl2;
  const isPlus = mechanism.endsWith('-PLUS');
  const type = typeof attempt.binding === 'string' ? attempt.binding : 'tls-exporter';
  const scram = new Scram({
    hash: hashOf(mechanism),
    user,
    password: secret,
    header: attempt.header ?? (isPlus ? `p=${type},,` : 'n,,'),
    binding: attempt.binding instanceof Buffer ? attempt.binding : isPlus ? bindingOf(peer, type) : undefined,
  });
  const message = base64(first(scram.first()));
  await peer.sends(
    inline === undefined
      ? `<auth xmlns='${ns}' mechanism='${mechanism}'>${message}</auth>`
      : `<authenticate xmlns='${ns}' mechanism='${mechanism}'><initial-response>${message}</initial-response>${inline}</authenticate>`,
  );
  const challenge = await peer.receivesAny();
  if (challenge.name !== 'challenge') return challenge;
  assert.equal(challenge.getNS(), ns);
  await peer.sends(`<response xmlns='${ns}'>${base64(final(scram.final(plain(challenge))))}</response>`);
  const end = await peer.receivesAny();
  if (end.name !== 'success' && end.name !== 'continue') return end;
  const proof = ns === NS.sasl ? end : end.getChild('additional-data', NS.sasl2)!;
  assert.ok(scram.verify(plain(proof)), 'the server does not know the password');
  return end;
}

/** The condition of a `<failure/>`, or 'success' or 'continue'. */
export function outcome(end: Element): string {
  if (end.name !== 'failure') return end.name;
  return end.getChildElements().find((child) => child.getNS() === NS.sasl && child.name !== 'text')!.name;
}

/** The names that a features element offers, by the profile. */
export function mechanisms(features: Element, profile: 'sasl' | 'sasl2' = 'sasl'): string[] {
  const offer =
    profile === 'sasl' ? features.getChild('mechanisms', NS.sasl) : features.getChild('authentication', NS.sasl2);
  return (offer?.getChildren('mechanism') ?? []).map((mechanism) => mechanism.getText());
}

/** XEP-0440. */
export function channelBindings(features: Element): string[] {
  const offer = features.getChild('sasl-channel-binding', NS.channelBinding);
  return (offer?.getChildren('channel-binding') ?? []).map((binding) => binding.attrs.type!);
}
