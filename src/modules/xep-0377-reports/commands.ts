/** Ad-hoc commands (XEP-0050) for administrators to list, show and remove reports. */
import type { Command } from '../../server/module/index.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { form, table } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { KeptReport, Reports } from './services.js';

/** Maximum reports in the list. */
const most = 100;

const admins = { target: 'server', access: 'admins' } as const;

/** Our own forms. */
const ofIds = defineForm(`${NS.reporting}#ids`, {
  ids: { type: 'text-multi', label: 'The ids of the reports', required: true },
});

export function reportCommands({ list, get, forget }: Omit<Reports, 'add'>): Command[] {
  return [
    {
      ...admins,
      node: 'reports',
      name: 'Abuse reports',
      run: async () => ({ status: 'completed', payload: [listOf(await list({ limit: most }))] }),
    },
    {
      ...admins,
      node: 'reports#show',
      name: 'Show abuse reports',
      run: async ({ form: submitted, state }) => {
        if (state === undefined)
          return { status: 'executing', state: 'asked', payload: [ofIds.form({}, { title: 'Show abuse reports' })] };
        const { ids = [] } = ofIds.read(submitted) ?? {};
        const found = await Promise.all(ids.slice(0, most).map(get));
        if (found.length > 0 && found.every((report) => report === undefined)) throw new StanzaError('item-not-found');
        return {
          status: 'completed',
          payload: found.flatMap((report) => (report === undefined ? [] : [whole(report)])),
        };
      },
    },
    {
      ...admins,
      node: 'reports#forget',
      name: 'Remove abuse reports',
      run: async ({ form: submitted, state }) => {
        if (state === undefined)
          return { status: 'executing', state: 'asked', payload: [ofIds.form({}, { title: 'Remove abuse reports' })] };
        const { ids = [] } = ofIds.read(submitted) ?? {};
        const gone = await forget(ids);
        return { status: 'completed', note: { type: 'info', text: `${gone} removed.` } };
      },
    },
  ];
}

/** The latest first. */
const listOf = (reports: readonly KeptReport[]) =>
  table({
    title: 'Abuse reports',
    columns: [
      { var: 'id', label: 'Id', type: 'text-single' },
      { var: 'time', label: 'Time', type: 'text-single' },
      { var: 'by', label: 'Reported by', type: 'jid-single' },
      { var: 'jid', label: 'Address', type: 'jid-single' },
      { var: 'room', label: 'Room', type: 'text-single' },
      { var: 'reason', label: 'Reason', type: 'text-single' },
      { var: 'text', label: 'Text', type: 'text-single' },
      { var: 'messages', label: 'Ids of messages', type: 'text-single' },
    ],
    rows: reports.map(({ id, at, by, jid, room = '', reason, text, messages }) => ({
      id,
      time: formatDateTime(at),
      by,
      jid,
      room,
      reason,
      text,
      messages: messages.join(' '),
    })),
  });

function whole({ id, at, by, jid, room = '', reason, text, evidence }: KeptReport) {
  return form({
    type: 'result',
    title: `Report ${id}`,
    fields: [
      { var: 'id', label: 'Id', type: 'text-single', value: id },
      { var: 'time', label: 'Time', type: 'text-single', value: formatDateTime(at) },
      { var: 'by', label: 'Reported by', type: 'jid-single', value: by },
      { var: 'jid', label: 'Address', type: 'jid-single', value: jid },
      { var: 'room', label: 'Room', type: 'text-single', value: room },
      { var: 'reason', label: 'Reason', type: 'text-single', value: reason },
      { var: 'text', label: 'Text', type: 'text-multi', value: text.split('\n') },
      { var: 'evidence', label: 'Messages', type: 'text-multi', value: evidence },
    ],
  });
}
