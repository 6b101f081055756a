/** Matches elements against expected ones, with the placeholders of dialogues: `*` is anything, `{name}` is bound. */
import { type Element, serialize } from '../../src/server/xml/element.js';

const placeholder = /\{([A-Za-z][A-Za-z0-9_]*)\}/g;

/** With the placeholders that are known filled in. */
export function fillIn(text: string, known: ReadonlyMap<string, string>): string {
  return text.replace(placeholder, (whole, name: string) => known.get(name) ?? whole);
}

/**
 * Describes the first difference, if any. Everything expected has to be present, in any order; more may be present,
 * unless `exactly`. A stanza expected without `type` must have none. New placeholders are added to `known`.
 */
export function difference(
  wanted: Element,
  actual: Element,
  known: Map<string, string>,
  exactly: boolean,
): string | undefined {
  const name = `<${wanted.name}/>`;
  if (wanted.name !== actual.name) return `${name} was wanted, <${actual.name}/> came`;
  if (wanted.getNS() !== actual.getNS()) return `${name} is in namespace ${actual.getNS()}, not in ${wanted.getNS()}`;
  for (const [key, value] of Object.entries(wanted.attrs)) {
    if (key === 'xmlns' || value === undefined) continue;
    if (!isSame(value, actual.attrs[key], known))
      return `${name} has ${key}=${JSON.stringify(actual.attrs[key])}, not ${JSON.stringify(fillIn(value, known))}`;
  }
  const isStanza = wanted.parent === null && ['message', 'presence', 'iq'].includes(wanted.name);
  if (isStanza && wanted.attrs.type === undefined && actual.attrs.type !== undefined)
    return `${name} has type ${JSON.stringify(actual.attrs.type)}`;
  if (exactly) {
    const surplus = Object.keys(actual.attrs).find((key) => key !== 'xmlns' && wanted.attrs[key] === undefined);
    if (surplus !== undefined) return `${name} has an attribute ${surplus}`;
  }
  return differenceOfContent(wanted, actual, known, exactly);
}

function differenceOfContent(
  wanted: Element,
  actual: Element,
  known: Map<string, string>,
  exactly: boolean,
): string | undefined {
  const name = `<${wanted.name}/>`;
  const text = wanted.getText().trim();
  const isEmpty = wanted.children.length === 0;
  if (text !== '' && !isSame(text, actual.getText().trim(), known))
    return `${name} says ${JSON.stringify(actual.getText())}, not ${JSON.stringify(fillIn(text, known))}`;
  if (exactly && text === '' && actual.getText().trim() !== '')
    return `${name} says ${JSON.stringify(actual.getText())}`;
  const left = actual.getChildElements();
  for (const child of wanted.getChildElements()) {
    let reason = `${name} has no ${serialize(child)}`;
    const at = left.findIndex((candidate) => {
      const attempt = new Map(known);
      const wrong = difference(child, candidate, attempt, exactly);
      if (wrong === undefined) for (const [key, value] of attempt) known.set(key, value);
      else if (candidate.name === child.name) reason += `\n  (${wrong})`;
      return wrong === undefined;
    });
    if (at < 0) return reason;
    left.splice(at, 1);
  }
  if (exactly && left.length > 0 && !(isEmpty && !exactly)) return `${name} also has ${serialize(left[0]!)}`;
  return undefined;
}

/** `*`: something is there. Placeholders stand for at least one character. */
function isSame(wanted: string, actual: string | undefined, known: Map<string, string>): boolean {
  if (wanted === '*') return actual !== undefined && actual !== '';
  if (actual === undefined) return false;
  const filled = fillIn(wanted, known);
  if (filled === actual) return true;
  const names: string[] = [];
  const pattern = filled
    .split(placeholder)
    .map((part, at) => {
      if (at % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      const seen = names.indexOf(part);
      if (seen >= 0) return `\\${seen + 1}`;
      names.push(part);
      return '([^]+)';
    })
    .join('');
  if (names.length === 0) return false;
  const found = new RegExp(`^${pattern}$`).exec(actual);
  if (found === null) return false;
  for (const [at, name] of names.entries()) known.set(name, found[at + 1]!);
  return true;
}
