/** Languages of pages. */

/** Ranges of an Accept-Language header that are looked at. */
const mostRanges = 20;

/**
 * The language that a visitor prefers (RFC 9110 §12.5.4, lookup by RFC 4647 §3.4): the first of `known` if the header names none
 * of them. `known`: primary tags, in lower case.
 */
export function preferredLanguage<L extends string>(header: string | undefined, known: readonly [L, ...L[]]): L {
  let best: { readonly language: L; readonly weight: number } | undefined;
  for (const range of (header ?? '').toLowerCase().split(',', mostRanges)) {
    const [, tag = '', q] = /^\s*([a-z]{2,8}|\*)(?:-[a-z\d]+)*\s*(?:;\s*q\s*=\s*([\d.]{1,5}))?\s*$/.exec(range) ?? [];
    const language = tag === '*' ? known[0] : known.find((one) => one === tag);
    const weight = q === undefined ? 1 : Number(q);
    if (language !== undefined && weight > (best?.weight ?? 0)) best = { language, weight };
  }
  return best?.language ?? known[0];
}
