/**
 * ProtoXEP "Message Archive Management: Trim Command" (0.0.1, March 2026): clients delete messages from their account's
 * archive, up to a given message or all of them.
 */
import { defineModule, demandOwn, iq } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';

export default defineModule({
  name: 'mam_trim',
  summary: 'Lets accounts delete messages from their archives (ProtoXEP MAM Trim Command).',
  implements: {},
  features: { account: [NS.mamTrim] },
  needs: ['archive'],

  start: ({ services: { archive } }) => [
    iq.set(
      'account',
      NS.mamTrim,
      'trim',
      async (request) => {
        demandOwn(request);
        const { to, payload } = request;
        const [id, ...further] = payload.getChildren('id', NS.mamTrim).map((child) => child.getText());
        if (further.length > 0 || id === '') throw new StanzaError('bad-request', 'Name at most one message.');
        await archive.trim(to.toBare(), id);
      },
      { access: 'anyone', absent: true },
    ),
  ],
});
