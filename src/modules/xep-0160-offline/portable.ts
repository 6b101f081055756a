/**
 * XEP-0227 §4.5: offline messages, the oldest first. Each has its id here as a stanza id (XEP-0359): an import finds the
 * ones that the archive has, and stores none twice. Messages of other servers get an id made of their time.
 */
import type { Jid } from '../../server/address/jid.js';
import { type Host, type Portable, type Services, takeEach } from '../../server/module/index.js';
import { readDelay, writtenDelay } from '../../server/stanza/delay.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Dated, foreignId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { stanzaFrom } from '../../server/stanza/stored.js';
import { type Element, el, serialize } from '../../server/xml/element.js';
import type { LogStore, MapStore } from '../../storage/contract.js';
import { isOurs, storedForm } from './stanzas.js';
import type { Entry } from './store.js';

export interface PortableOfflineParts {
  readonly host: Host;
  readonly messages: {
    page(
      owner: string,
      after: string | undefined,
      how: { readonly reads: boolean },
    ): Promise<{ entries: Entry[]; next: string | undefined }>;
  };
  readonly store: LogStore;
  readonly references: MapStore<number>;
  readonly archive: Services['archive'] | undefined;
}

export function portableOffline({ host, messages, store, references, archive }: PortableOfflineParts): Portable {
  /** The id and time of an imported message, and the message as it is stored. */
  const read = (message: Element, owner: Jid, before: Dated | undefined) => {
    const given = stanzaFrom(message);
    if (given?.name !== 'message' || given.from === undefined)
      throw new StanzaError('bad-request', 'it is not a message with a sender');
    const ids = given.children().filter((child) => child.is('stanza-id', NS.stanzaId) && child.attrs.by === owner.bare);
    const stanza = given.without(NS.stanzaId, 'stanza-id', ({ by }) => by === owner.bare);
    const delays = stanza.children().flatMap((child) => {
      const delay = readDelay(child);
      return delay === undefined ? [] : [delay];
    });
    const delay = delays.find(({ from }) => isOurs(from?.full, host.domain)) ?? delays.at(-1);
    const time = Math.max(0, delay?.stamp ?? 0);
    const at = foreignId(time, stanza.toXml(), before);
    const own = ids[0]?.attrs.id ?? '';
    const id = timeOf(own) === time ? own : at.id;
    const value = (
      delay === undefined ? stanza.with({ to: owner }) : storedForm(stanza, owner, host.domain, time)
    ).toXml(NS.client);
    return { at, id, value };
  };

  const keep = async (owner: Jid, id: string, value: string): Promise<void> => {
    const archived = await archive?.read(owner, { ids: [id], limit: 1 });
    const [entry] = archived?.entries ?? [];
    if (entry !== undefined) {
      if ((await references.get(owner.bare, id)) !== undefined) return;
      await references.set(owner.bare, [[id, Buffer.byteLength(Stanza.parse(entry.value).content)]]);
    } else if ((await store.count(owner.bare, { ids: [id] })) === 0) {
      if ((await store.count(owner.bare, {})) >= host.config.limits.offline_messages)
        throw new StanzaError('resource-constraint', `an account has at most ${host.config.limits.offline_messages}`);
      await store.append(owner.bare, { id, value });
    }
  };

  return {
    takes: [{ ns: NS.pie, name: 'offline-messages', containers: 1 }],
    async *export(owner) {
      let isOpen = false;
      for (let after: string | undefined; ; ) {
        const { entries, next } = await messages.page(owner.bare, after, { reads: true });
        for (const { id, storedIn, value } of entries) {
          if (!isOpen) yield `<offline-messages xmlns="${NS.pie}">`;
          isOpen = true;
          const stanza = Stanza.parse(value).plusWritten(
            serialize(el('stanza-id', { xmlns: NS.stanzaId, by: owner.bare, id })),
          );
          const whole = storedIn === 'archive' ? stanza.plusWritten(writtenDelay(host.domain, timeOf(id))) : stanza;
          yield whole.toXml(NS.client);
        }
        if (next === undefined) break;
        after = next;
      }
      if (isOpen) yield '</offline-messages>';
    },
    async import(owner, parts, memo) {
      let last = memo === undefined ? undefined : (JSON.parse(memo) as Dated);
      const refused = await takeEach(
        parts,
        () => 'an offline message',
        async (container) => {
          const [message] = container.getChildElements();
          if (message === undefined) return;
          const { at, id, value } = read(message, owner, last);
          last = at;
          await keep(owner, id, value);
        },
      );
      return { refused, ...(last !== undefined && { memo: JSON.stringify(last) }) };
    },
  };
}
