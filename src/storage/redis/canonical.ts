/** JSON with sorted properties: equal values have equal texts, so that Redis can compare them. */
import * as json from '../json.js';

/** Throws TypeError if the value has no JSON form. */
export function canonical(value: unknown): string {
  const text = json.write(value);
  return text.includes('{') ? sorted(JSON.parse(text)) : text;
}

function sorted(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(sorted).join(',')}]`;
  const properties = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${properties.map(([key, of]) => `${JSON.stringify(key)}:${sorted(of)}`).join(',')}}`;
}
