/** Why text cannot be read on. */

/** The stream error conditions (RFC 6120 §4.9.3) that text can earn. */
export type XmlErrorCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'not-well-formed'
  | 'policy-violation'
  | 'restricted-xml'
  | 'unsupported-encoding';

/** The text cannot be read on. */
export class XmlError extends Error {
  override readonly name = 'XmlError';

  constructor(
    readonly condition: XmlErrorCondition,
    readonly text: string,
  ) {
    super(`${condition}: ${text}`);
  }
}

export function fail(condition: XmlErrorCondition, text: string): never {
  throw new XmlError(condition, text);
}

export function refuseSize(limit: number): never {
  fail('policy-violation', `an element of more than ${limit} bytes`);
}

export function refuseName(): never {
  fail('policy-violation', 'a name that is too long');
}
