/** Finds the address to which another server wants reports about its accounts. */

import { Jid } from '../../server/address/jid.js';
import type { Host } from '../../server/module/index.js';
import { readForm } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';

/** Fields of XEP-0157, in order of preference. */
const fields = ['report-addresses', 'abuse-addresses'];

/**
 * The address for reports that the server publishes (XEP-0157), or its own address if it supports reports. Returns
 * undefined if neither. Throws the StanzaError of its answer.
 */
export async function reportAddress(host: Host, domain: string): Promise<Jid | undefined> {
  const to = Jid.parse(domain);
  const answer = await host.ask(
    Stanza.build('iq', { type: 'get', from: host.jid, to }, el('query', { xmlns: NS.discoInfo })),
  );
  const query = answer.child(NS.discoInfo, 'query');
  const contacts = query
    ?.getChildren('x', NS.dataForms)
    .map((x) => readForm(x))
    .find(({ formType }) => formType === NS.serverInfo);
  for (const field of fields)
    for (const uri of contacts?.all(field) ?? []) {
      const address = /^xmpp:([^?]+)/i.exec(uri)?.[1];
      const jid = address === undefined ? undefined : Jid.tryParse(decoded(address));
      if (jid !== undefined) return jid;
    }
  const takesReports = query?.getChildren('feature', NS.discoInfo).some(({ attrs }) => attrs.var === NS.reporting);
  return takesReports ? to : undefined;
}

/** RFC 5122 §2.2. Text with invalid escapes is returned unchanged. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return text;
    throw error;
  }
}
