/** `<stream:features/>` (RFC 6120 §4.3.2) for each phase of a stream. */
import { NS } from '../../stanza/ns.js';
import { type Element, el } from '../../xml/element.js';
import type { Negotiation } from './negotiation.js';
import type { C2sStream } from './stream.js';

/** Before authentication. `negotiation`: the login that may start; undefined if TLS must start first. */
export function unauthenticatedFeatures(stream: C2sStream, negotiation: Negotiation | undefined): Element[] {
  const features: Element[] = [];
  if (stream.canStartTls) features.push(el('starttls', { xmlns: NS.tls }, stream.trusted ? undefined : el('required')));
  // RFC 6120 §5.3.1: nothing else is offered before mandatory TLS.
  if (negotiation === undefined) return features;
  const { mechanisms, channelBindingTypes, fast, upgrades } = negotiation.offer;
  if (mechanisms.length > 0) {
    features.push(el('mechanisms', { xmlns: NS.sasl }, ...mechanisms.map((name) => el('mechanism', null, name))));
    features.push(
      el(
        'authentication',
        { xmlns: NS.sasl2 }, // XEP-0388 §2.1; §3 requires TLS, or a trusted connection
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
  return [...features, ...moduleFeatures(stream, 'unauthenticated')];
}

/** Features that can be enabled inside the `<bind/>` of XEP-0386. */
function inlineFeatures(stream: C2sStream): string[] {
  return [NS.sm, NS.csi, ...stream.host!.hooks.inline.map(({ ns }) => ns)];
}

/** After authentication. Binding is not offered to a stream that bound while authenticating. */
export function authenticatedFeatures(stream: C2sStream): Element[] {
  const features: Element[] = [];
  if (stream.session === undefined) {
    features.push(
      el('bind', { xmlns: NS.bind }),
      // RFC 3921 sessions are a no-op; clients may skip them.
      el('session', { xmlns: NS.session }, el('optional')),
    );
  }
  // A client that enabled it by XEP-0386 would enable it again (xmpp.js does).
  if (stream.sm === undefined) features.push(el('sm', { xmlns: NS.sm }));
  features.push(el('csi', { xmlns: NS.csi }));
  return [...features, ...moduleFeatures(stream, 'authenticated')];
}

function moduleFeatures(stream: C2sStream, phase: 'unauthenticated' | 'authenticated'): Element[] {
  const features: Element[] = [];
  for (const hook of stream.host!.hooks.streamFeatures) {
    const feature = hook.phase === phase ? hook.feature(stream) : undefined;
    if (feature !== undefined) features.push(feature);
  }
  return features;
}
