/** What all invitations have in common: addresses in URIs, and the form that has a link. */
import { formatDateTime } from '../../server/stanza/datetime.js';
import { form } from '../../server/stanza/forms.js';
import type { Element } from '../../server/xml/element.js';

/** RFC 5122 §2.2: an address in a URI. */
export const escaped = (address: string): string => address.split('@').map(encodeURIComponent).join('@');

export interface Link {
  readonly uri: string;
  /** Of its page; undefined if it has none. */
  readonly url: string | undefined;
  /** In ms since 1970; undefined if it does not expire. */
  readonly until: number | undefined;
}

/** The answer of a command that made a link (XEP-0401 §5.1). */
export function linkForm(formType: string, { uri, url, until }: Link): Element {
  const field = (name: string, label: string, value: string | undefined) =>
    value === undefined ? [] : [{ var: name, type: 'text-single' as const, label, value }];
  return form({
    type: 'result',
    formType,
    fields: [
      ...field('uri', 'Invitation', uri),
      ...field('landing-url', 'Page', url),
      ...field('expire', 'Valid until', until === undefined ? undefined : formatDateTime(until)),
    ],
  });
}
