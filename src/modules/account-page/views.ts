/** The parts of the page. */
import { escapeHtml } from '../../server/http/html.js';
import type { HttpAnswer } from '../../server/module/index.js';
import type { PushApp } from '../xep-0357-push/services.js';
import type { UploadedFile } from '../xep-0363-upload/services.js';
import type { Kind, Listed } from './devices.js';
import type { Notice, Problem, Section } from './texts.js';
import {
  addressOf,
  field,
  form,
  hidden,
  moment,
  type PageParts,
  type Problems,
  page,
  passwordField,
  path,
  shown,
  size,
  table,
  type View,
} from './view.js';

/** What the last form led to. */
export interface Outcome {
  readonly status?: number | undefined;
  readonly notice?: Notice | undefined;
  readonly problems?: Problems | undefined;
}

const part = (view: View, section: Section, outcome: Outcome, main: string): HttpAnswer =>
  page(view, { section, title: view.texts.sections[section], main, ...outcome });

export interface LoginForm extends Pick<PageParts, 'status' | 'notice' | 'problems' | 'cookies'> {
  readonly token: string;
  /** As it was entered. */
  readonly address: string;
  readonly next: string;
}

export function loginPage(view: View, { token, address, next, problems = {}, ...rest }: LoginForm): HttpAnswer {
  const { texts } = view;
  const inner = `${hidden('token', token)}${hidden('next', next)}
${field(view, problems, { name: 'address', label: texts.address, type: 'text', autocomplete: 'username', value: address })}
${field(view, problems, { name: 'password', label: texts.password, type: 'password', autocomplete: 'current-password' })}
<p><button>${texts.signIn}</button></p>`;
  const main = form({ account: undefined }, 'login', inner);
  return page(view, { title: texts.signInAt(view.domain), main, problems, ...rest });
}

export function overview(view: View, outcome: Outcome): HttpAnswer {
  const { texts, chat } = view;
  const parts = view.sections.flatMap((one) =>
    one === 'overview'
      ? []
      : `<h2><a href="${addressOf(one)}">${texts.sections[one]}</a></h2>\n<p>${texts.about[one]}</p>`,
  );
  const link = chat === undefined ? '' : `<p><a class="button" href="${escapeHtml(chat)}">${texts.openChat}</a></p>\n`;
  return part(view, 'overview', outcome, link + parts.join('\n'));
}

/** A page that says what was wrong, and leads back. */
export function problemPage(view: View, section: Section, problem: Problem, status: number): HttpAnswer {
  const { texts } = view;
  const main = `<p><a class="button" href="${addressOf(section)}">${texts.goOn}</a></p>`;
  return page(view, { section, title: texts.sections[section], main, status, problems: { form: problem } });
}

export function passwordView(view: View, outcome: Outcome, least: number): HttpAnswer {
  const { texts, account } = view;
  const { problems = {} } = outcome;
  const address = { name: 'address', label: texts.address, type: 'text', autocomplete: 'username' } as const;
  const fresh = { type: 'password', autocomplete: 'new-password' } as const;
  const inner = `${field(view, {}, { ...address, value: account?.bare ?? '', isFixed: true })}
${passwordField(view, problems)}
${field(view, problems, { ...fresh, name: 'new', label: texts.newPassword, hint: texts.passwordRule(least) })}
${field(view, problems, { ...fresh, name: 'again', label: texts.again })}
<div class="choice"><input type="checkbox" id="others" name="others" value="1"><label for="others">${texts.endOthersToo}</label></div>
<p>${texts.afterChange}</p>
<p><button>${texts.changePassword}</button></p>`;
  return part(view, 'password', outcome, form(view, 'password', inner));
}

export function devicesView(view: View, outcome: Outcome, listed: Listed): HttpAnswer {
  const { texts } = view;
  const { sessions, devices, logins, counts } = listed;
  /** Its label names what it ends, for those who hear one button after the other. */
  const button = (kind: Kind, id: string, text: string, label: string) =>
    form(
      view,
      'devices/end',
      `${hidden('kind', kind)}${hidden('id', id)}<button aria-label="${escapeHtml(label)}">${text}</button>`,
    );
  const more = (list: readonly unknown[], all: number) =>
    all > list.length ? `<p>${texts.more(list.length, all)}</p>\n` : '';
  const sessionRows = sessions.map(({ id, resource, since, address, label }) => [
    label === null ? shown(resource) : `${shown(label)} (${shown(resource)})`,
    moment(view, since),
    address === null ? texts.disconnected : escapeHtml(address),
    button('session', id, texts.end, texts.endOf(label ?? resource)),
  ]);
  const deviceRows = devices.map(({ id, label, issued, expires }) => [
    label === null ? texts.unnamed : shown(label),
    moment(view, issued),
    moment(view, expires),
    button('device', id, texts.revoke, texts.revokeOf(label ?? texts.unnamed)),
  ]);
  const loginRows = logins.map(({ id, at, address, isThis }) => [
    moment(view, at),
    escapeHtml(address),
    isThis ? texts.thisPage : button('login', id, texts.end, texts.endOf(address)),
  ]);
  const main = `<h2>${texts.connected}</h2>
${sessions.length === 0 ? `<p>${texts.noneConnected}</p>` : table([texts.app, texts.since, texts.from, texts.action], sessionRows, texts.connected)}
${more(sessions, counts.sessions)}<p>${texts.connectedNote}</p>
<h2>${texts.remembered}</h2>
${devices.length === 0 ? `<p>${texts.noneRemembered}</p>` : `${table([texts.name, texts.since, texts.until, texts.action], deviceRows, texts.remembered)}\n${more(devices, counts.devices)}<p>${texts.rememberedNote}</p>`}
<h2>${texts.pages}</h2>
${table([texts.since, texts.from, texts.action], loginRows, texts.pages)}
<h2>${texts.endOthers}</h2>
<p>${texts.endOthersNote}</p>
${form(view, 'devices/end', `${hidden('kind', 'others')}<button class="danger">${texts.endOthers}</button>`)}`;
  return part(view, 'devices', outcome, main);
}

export function notificationsView(view: View, outcome: Outcome, apps: readonly PushApp[]): HttpAnswer {
  const { texts } = view;
  const rows = apps.map(({ id, service, resource, at }) => {
    const name = resource ?? service;
    return [
      resource === undefined ? texts.unnamed : shown(resource),
      shown(service),
      moment(view, at),
      form(
        view,
        'notifications/remove',
        `${hidden('id', id)}<button aria-label="${escapeHtml(texts.removeOf(name))}">${texts.remove}</button>`,
      ),
    ];
  });
  const head = [texts.app, texts.service, texts.enabled, texts.action];
  const main =
    apps.length === 0
      ? `<p>${texts.noApps}</p>`
      : `<p>${texts.notificationsNote}</p>\n${table(head, rows, texts.sections.notifications)}`;
  return part(view, 'notifications', outcome, main);
}

export interface FilesShown {
  readonly files: readonly UploadedFile[];
  readonly usage: { readonly files: number; readonly bytes: number };
  /** From 1. */
  readonly page: number;
  readonly pages: number;
}

export function filesView(view: View, outcome: Outcome, { files, usage, page: at, pages }: FilesShown): HttpAnswer {
  const { texts } = view;
  if (usage.files === 0) return part(view, 'files', outcome, `<p>${texts.noFiles}</p>`);
  const rows = files.map(({ id, name, size: bytes, at: uploaded, expires, url }) => [
    `<input type="checkbox" name="file" value="${escapeHtml(id)}" aria-label="${escapeHtml(texts.chooseOf(name))}">`,
    `<a href="${escapeHtml(url)}" rel="noreferrer">${shown(name)}</a>`,
    size(view, bytes),
    moment(view, uploaded),
    expires === undefined ? texts.never : moment(view, expires),
  ]);
  const head = [texts.choose, texts.file, texts.size, texts.uploaded, texts.expires];
  const link = (to: number, text: string) => `<a href="${path}/files?page=${to}">${text}</a>`;
  const paging =
    pages === 1
      ? ''
      : `<p>${[at > 1 ? link(at - 1, texts.newer) : '', texts.pageOf(at, pages), at < pages ? link(at + 1, texts.older) : ''].join(' ')}</p>\n`;
  const inner = `${table(head, rows, texts.sections.files)}
${paging}<p>${texts.deleteNote}</p>
<p><button class="danger">${texts.deleteFiles}</button></p>`;
  const main = `<p>${texts.usage(usage.files, size(view, usage.bytes))}</p>\n${form(view, 'files/delete', inner)}`;
  return part(view, 'files', outcome, main);
}

export function exportView(view: View, outcome: Outcome): HttpAnswer {
  const { texts } = view;
  const inner = `${passwordField(view, outcome.problems ?? {})}\n<p><button>${texts.download}</button></p>`;
  return part(view, 'export', outcome, `<p>${texts.exportNote}</p>\n${form(view, 'export', inner)}`);
}

export function removalView(view: View, outcome: Outcome): HttpAnswer {
  const { texts, account } = view;
  const { problems = {} } = outcome;
  const inner = `${field(view, problems, { name: 'address', label: texts.typeAddress(account?.bare ?? ''), type: 'text', autocomplete: 'off' })}
${passwordField(view, problems)}
<p><button class="danger">${texts.removeAccount}</button></p>`;
  return part(view, 'removal', outcome, `<p>${texts.removalNote}</p>\n${form(view, 'removal', inner)}`);
}

export const removedPage = (view: View, bare: string, cookies: readonly string[]): HttpAnswer =>
  page(view, { title: view.texts.removed, main: `<p>${escapeHtml(view.texts.removedNote(bare))}</p>`, cookies });
