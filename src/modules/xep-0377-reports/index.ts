/**
 * XEP-0377: Blocking Command Reports. Stores reports that accounts make while they block (xep-0191-blocking.ts), and
 * reports to rooms, and notifies the administrators. If the reporter consents (§4), a report is forwarded to the server
 * of the reported address and to configured services, always without the reporter. Other servers can send such reports
 * here.
 */

import { z } from 'zod';
import { Jid, JidError } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { count } from '../../server/config/units.js';
import { Rates } from '../../server/limits/rates.js';
import { command, defineModule, log, metric, moves, serverMessage } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { idAt, stanzaId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { bareJid, jid, stanzaXml } from '../../server/stanza/stored.js';
import { type Element, el, serialize } from '../../server/xml/element.js';
import type { LogEntry } from '../../storage/contract.js';
import { cli } from './cli.js';
import { reportCommands } from './commands.js';
import { reportAddress } from './origin.js';
import { forwardedElements, idsIn, made, mostEvidence, reportElement, type StoredReport, wordsOf } from './report.js';
import type { KeptReport, NewReport } from './services.js';

const day = 86_400_000;
const hour = 3_600_000;
const page = 500;

const addresses = (purpose: string) =>
  z
    .array(z.string().refine((text) => Jid.tryParse(text) !== undefined, 'is not an address'))
    .default([])
    .describe(purpose)
    .meta({ example: 'reports@example.org' });

/** The serialized StoredReport, validated on reading. */
const storedReport = z.string().refine((text) => {
  try {
    return reportRecord.safeParse(JSON.parse(text)).success;
  } catch {
    return false;
  }
});

const reportRecord: z.ZodType<StoredReport> = z.object({
  by: bareJid,
  jid,
  room: jid.exactOptional(),
  reason: z.string(),
  text: z.string(),
  lang: z.string().exactOptional(),
  messages: z.array(z.string()),
  evidence: z.array(stanzaXml).exactOptional(),
});

export default defineModule({
  cli,
  name: 'reports',
  summary: 'Stores reports of abuse, notifies the administrators, and forwards the reports if the reporter consents.',
  implements: { 'XEP-0377': '0.4.1' },
  features: { server: [NS.reporting] },
  config: z.strictObject({
    stored: count({ min: 0 }).default(1000).describe('Maximum stored reports; the oldest are deleted.'),
    per_day: count({ min: 0 })
      .default(50)
      .describe('Maximum reports per day from one account or one other server; further ones are dropped.'),
    notify_admins: z
      .boolean()
      .default(true)
      .describe('Whether the administrators named in the table of the host get a message for each report.'),
    notify: addresses('Other addresses that get such a message.'),
    messages_per_hour: count({ min: 0, unlimited: true })
      .default(20)
      .describe(
        'Maximum messages to the administrators per hour, at most a quarter of them for one reporter. Further reports are only stored.',
      ),
    forward_to: addresses(
      'Addresses of services that collect reports. They get reports whose reporters consent, without the reporter.',
    ),
    forward_to_origin: z
      .boolean()
      .default(true)
      .describe(
        'Whether the server of the reported address gets reports whose reporters consent, without the reporter.',
      ),
    forwards_per_hour: count({ min: 0, unlimited: true })
      .default(100)
      .describe('Maximum reports per hour forwarded to one address.'),
    from_servers: z.boolean().default(true).describe('Whether other servers may report accounts of this host.'),
    from_servers_per_day: count({ min: 1, unlimited: true })
      .default(200)
      .describe(
        'Maximum reports per day from all other servers together, so that they do not displace reports of users; further ones are dropped.',
      ),
  }),
  stores: { reports: log({ storedAs: 'reports', value: storedReport }) },
  wants: ['archive'],
  provides: ['reports'],

  start: ({ host, config, stores: { reports: store }, services: { archive }, provide, log: logger }) => {
    const counts = { stored: 0, forwarded: 0 };
    const notified = new Rates(config.messages_per_hour, hour);
    /** Prevents one reporter from using up the limit for all. */
    const notifiedForOne = new Rates(Math.ceil(config.messages_per_hour / 4), hour);
    const forwarded = new Rates(config.forwards_per_hour, hour);
    const received = new Rates(config.from_servers_per_day, day);

    /** §5: the named messages that are by the reported address and in the reporter's archive. */
    const messagesOf = async ({ by, about, element }: NewReport): Promise<Stanza[]> => {
      const ids = idsIn(element);
      if (archive === undefined || ids.length === 0) return [];
      const { entries } = await archive.read(by, { ids, limit: ids.length });
      return entries.map(({ value }) => Stanza.parse(value)).filter(({ from }) => isBy(about, from));
    };

    const add = async (report: NewReport): Promise<boolean> => {
      const { by, about, room, element } = report;
      if (config.stored === 0) return false;
      // Counted by domain: other servers can create any number of accounts, and so can anonymous users (XEP-0175).
      const isOurs = by.domain === host.domain && !host.isAnonymous(by.bare);
      const reporter = isOurs ? by.bare : by.domain;
      const today = { with: reporter, from: idAt(wall() - day) };
      if ((await store.count(host.domain, today, config.per_day)) >= config.per_day) {
        host.limitHit('reports.per_day');
        return false;
      }
      if (!isOurs && !received.take('')) {
        host.limitHit('reports.from_servers_per_day');
        return false;
      }
      const messages = report.messages ?? (await messagesOf(report));
      // Anonymous reporters are not stored.
      const stored = made(host.isAnonymous(by.bare) ? { ...report, by: host.jid } : report, messages);
      const id = stanzaId(host.domain);
      await store.append(host.domain, { id, with: reporter, value: JSON.stringify(stored) });
      await store.trim(host.domain, { keep: config.stored });
      counts.stored++;
      logger.info({ by: by.bare, reported: about.full, room: room?.bare, reason: stored.reason }, 'a report of abuse');
      await host.emit('reported', { id, by: Jid.parse(stored.by), about, room, reason: stored.reason });
      if (room !== undefined) return true;
      notify(id, stored, reporter);
      if (by.domain !== host.domain || by.local === undefined) return true;
      // §4: only with the reporter's consent
      const agreed = (name: string) => element.getChild(name, NS.reporting) !== undefined;
      if (agreed('third-party')) for (const to of config.forward_to) passOn(id, stored, Jid.parse(to));
      if (agreed('report-origin') && config.forward_to_origin)
        passToOrigin(id, stored, about).catch((error: unknown) =>
          logger.error(
            { err: error, report: id },
            'a report could not be forwarded to the server of the reported address',
          ),
        );
      return true;
    };

    const notify = (id: string, report: StoredReport, reporter: string): void => {
      const admins = config.notify_admins ? (host.config.hosts[host.domain]?.admins ?? []) : [];
      const recipients = new Set([...admins, ...config.notify.map((jid) => Jid.parse(jid).full)]);
      if (recipients.size === 0) return;
      if (Rates.takeAll([notified, ''], [notifiedForOne, reporter]) !== undefined) {
        host.limitHit('reports.messages_per_hour');
        return;
      }
      const words = `${wordsOf(report)}\n(report ${id})`;
      const message = Stanza.build(
        'message',
        { from: host.jid, id },
        el('subject', null, 'Report of abuse'),
        el('body', null, words),
        reportElement(report),
      );
      for (const to of recipients) void host.route(message.with({ to: Jid.parse(to) }));
    };

    /** §4: forwarded reports do not name the reporter. */
    const passOn = (id: string, report: StoredReport, to: Jid): void => {
      if (!forwarded.take(to.full)) {
        host.limitHit('reports.forwards_per_hour');
        return;
      }
      counts.forwarded++;
      const words = wordsOf({ ...report, by: host.domain });
      const children = [el('body', null, words), reportElement(report), ...forwardedElements(report, timeOf(id))];
      void host.route(Stanza.build('message', { from: host.jid, to, id }, ...children));
    };

    const passToOrigin = async (id: string, report: StoredReport, about: Jid): Promise<void> => {
      if (about.domain === host.domain || about.domain.endsWith(`.${host.domain}`)) return;
      const to = await reportAddress(host, about.domain).catch((error: unknown) => {
        if (!(error instanceof StanzaError)) throw error;
        return undefined;
      });
      if (to === undefined) logger.info({ domain: about.domain }, 'the server publishes no address for reports');
      else passOn(id, report, to);
    };

    /** A report from another server about an account of ours. */
    const receive = (stanza: Stanza): 'handled' | undefined => {
      const { from } = stanza;
      const element = stanza.child(NS.reporting, 'report');
      if (element === undefined || stanza.type === 'error' || !config.from_servers) return undefined;
      const about = Jid.tryParse(element.getChildText('jid', NS.jid) ?? '');
      if (from === undefined || from.local !== undefined || about?.domain !== host.domain) return undefined;
      const messages = stanza
        .children()
        .filter((child) => child.is('forwarded', NS.forward))
        .slice(0, mostEvidence)
        .flatMap((child) => readMessage(child.getChild('message', NS.client)) ?? []);
      const report = { by: from.toBare(), about, element, messages: messages.filter((one) => isBy(about, one.from)) };
      add(report).catch((error: unknown) => logger.error({ err: error }, 'a report could not be persisted'));
      return 'handled';
    };

    const list = async ({ limit, before }: { readonly limit: number; readonly before?: string | undefined }) => {
      const { entries } = await store.page(host.domain, { limit, before, backwards: true });
      return entries.reverse().map(read);
    };

    const get = async (id: string): Promise<KeptReport | undefined> =>
      (await store.page(host.domain, { ids: [id], limit: 1 })).entries.map(read)[0];

    const forget = async (ids: readonly string[] | 'all'): Promise<number> => {
      if (ids !== 'all') return store.remove(host.domain, ids);
      let gone = 0;
      for (;;) {
        const { entries } = await store.page(host.domain, { limit: page });
        if (entries.length === 0) return gone;
        const removed = await store.remove(
          host.domain,
          entries.map(({ id }) => id),
        );
        if (removed === 0) return gone;
        gone += removed;
      }
    };

    provide('reports', { add, list, get, forget });

    return [
      serverMessage(receive, { after: ['rtbl'] }),
      moves(notifiedForOne.memory('reports.notified')),
      ...reportCommands({ list, get, forget }).map(command),
      metric({ name: 'waxwing_reports_total', help: 'Stored reports of abuse', read: () => counts.stored }),
      metric({
        name: 'waxwing_reports_forwarded_total',
        help: 'Reports of abuse forwarded to other servers and services',
        read: () => counts.forwarded,
      }),
    ];
  },
});

function read({ id, value }: LogEntry): KeptReport {
  const { by, jid, room, reason, text, messages, evidence = [] } = JSON.parse(value) as StoredReport;
  return { id, at: timeOf(id), by, jid, room, reason, text, messages, evidence };
}

/** A message that another server put into a report. Returns undefined if there is none, or an invalid one. */
function readMessage(element: Element | undefined): Stanza | undefined {
  if (element === undefined) return undefined;
  try {
    return Stanza.parse(serialize(element));
  } catch (error) {
    if (error instanceof JidError) return undefined;
    throw error;
  }
}

/** Whether a message is by the reported address: an account, or an occupant of a room. */
function isBy(about: Jid, from: Jid | undefined): boolean {
  return about.resource === undefined ? about.sameBare(from) : about.equals(from);
}
