/** Parse errors. */

/** The stream error conditions (RFC 6120 §4.9.3) that a parse error can cause. */
export type XmlErrorCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'not-well-formed'
  | 'policy-violation'
  | 'restricted-xml'
  | 'unsupported-encoding';

/** The input cannot be parsed any further. */
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
  fail('policy-violation', `an element exceeds ${limit} bytes`);
}

export function refuseName(): never {
  fail('policy-violation', 'a name is too long');
}
