/** `<stream:features/>` (RFC 6120 §4.3.2): what a stream is offered, by how far it has come. */
import { NS } from '../../stanza/ns.js';
import { type Element, el } from '../../xml/element.js';
import type { Negotiation } from './negotiation.js';
import type { C2sStream } from './stream.js';

/** Before authentication. `negotiation`: the login that it may begin; undefined if it has to start TLS first. */
export function strangerFeatures(stream: C2sStream, negotiation: Negotiation | undefined): Element[] {
  const features: Element[] = [];
  if (stream.canStartTls) features.push(el('starttls', { xmlns: NS.tls }, stream.trusted ? undefined : el('required')));
  // RFC 6120 §5.3.1: nothing else is to be had before TLS where TLS is required.
  if (negotiation === undefined) return features;
  const { mechanisms, channelBindingTypes, fast, upgrades } = negotiation.offer;
  if (mechanisms.length > 0) {
    features.push(el('mechanisms', { xmlns: NS.sasl }, ...mechanisms.map((name) => el('mechanism', null, name))));
    features.push(
      el(
        'authentication',
        { xmlns: NS.sasl2 }, // XEP-0388 §2.1; §3 wants TLS, or what the configuration trusts as much
        ...mechanisms.map((name) => el('mechanism', null, name)),
        el(
          'inline',
          null,
          el(
            'bind',
            { xmlns: NS.bind2 }, // XEP-0386 §2.1
            el('inline', null, ...inlineFeatures(stream).map((ns) => el('feature', { var: ns }))),
          ),
          el('sm', { xmlns: NS.sm }),
          fast.length === 0
            ? undefined
            : el('fast', { xmlns: NS.fast }, ...fast.map((name) => el('mechanism', null, name))), // XEP-0484 §3.1
        ),
        ...upgrades.map((task) => el('upgrade', { xmlns: NS.saslUpgrade }, task)), // XEP-0480 §2.1
      ),
    );
    if (channelBindingTypes.length > 0)
      features.push(
        el(
          'sasl-channel-binding',
          { xmlns: NS.channelBinding },
          ...channelBindingTypes.map((type) => el('channel-binding', { type })),
        ),
      );
  }
  return [...features, ...moduleFeatures(stream, 'stranger')];
}

/** What can be asked for inside the `<bind/>` of XEP-0386. */
function inlineFeatures(stream: C2sStream): string[] {
  return [NS.sm, NS.csi, ...stream.host!.hooks.inline.map(({ ns }) => ns)];
}

/** After authentication. A stream that has bound while it authenticated is not offered that again. */
export function authenticatedFeatures(stream: C2sStream): Element[] {
  const features: Element[] = [];
  if (stream.session === undefined) {
    features.push(
      el('bind', { xmlns: NS.bind }),
      // RFC 3921's session does nothing any more; clients that know it may leave it out.
      el('session', { xmlns: NS.session }, el('optional')),
    );
  }
  // Who has it already, by XEP-0386, would ask for it again (xmpp.js does).
  if (stream.sm === undefined) features.push(el('sm', { xmlns: NS.sm }));
  features.push(el('csi', { xmlns: NS.csi }));
  return [...features, ...moduleFeatures(stream, 'authenticated')];
}

function moduleFeatures(stream: C2sStream, phase: 'stranger' | 'authenticated'): Element[] {
  const features: Element[] = [];
  for (const hook of stream.host!.hooks.streamFeatures) {
    const feature = hook.phase === phase ? hook.feature(stream) : undefined;
    if (feature !== undefined) features.push(feature);
  }
  return features;
}
