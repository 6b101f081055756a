/** XEP-0202: Entity Time, of the server, always in UTC: its time zone is private (§6). */
import { wall } from '../server/clock.js';
import { defineModule, iq } from '../server/module/index.js';
import { formatDateTime } from '../server/stanza/datetime.js';
import { NS } from '../server/stanza/ns.js';
import { el } from '../server/xml/element.js';

export default defineModule({
  name: 'time',
  summary: "Answers queries for the server's time.",
  implements: { 'XEP-0202': '2.0' },
  features: { server: [NS.time] },
  start: () => [
    iq.get('server', NS.time, 'time', () =>
      el('time', { xmlns: NS.time }, el('tzo', null, '+00:00'), el('utc', null, formatDateTime(wall()))),
    ),
  ],
});
