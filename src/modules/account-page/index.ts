/**
 * One's own page, at `/account` of the host: users see and change what the server has for them. It works without scripts, and
 * has none. Who logs in with their password gets a cookie (cookies.ts) for a short time; what cannot be undone asks for the
 * password again. Every change is made at the home of the account (logins.ts, devices.ts).
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { accountRefusal } from '../../server/account-refusal.js';
import { Jid } from '../../server/address/jid.js';
import { isLoopback } from '../../server/config/address.js';
import { count, seconds } from '../../server/config/units.js';
import { fileAnswer } from '../../server/http/files.js';
import {
  answers,
  defineModule,
  every,
  type HttpAnswer,
  HttpError,
  type HttpRequest,
  http,
  map,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import {
  cookieOf,
  keyOf,
  loginSecret,
  newTicket,
  newToken,
  proveToken,
  readTicket,
  setCookie,
  writeTicket,
} from './cookies.js';
import { Devices, ending, type Kind, kinds, listing } from './devices.js';
import { Downloads } from './downloads.js';
import { closing, type Login, Logins, loginSchema, opening, using } from './logins.js';
import { style } from './style.js';
import { type Notice, notices, type Problem, type Section, sections } from './texts.js';
import { path, type View, viewFor } from './view.js';
import {
  devicesView,
  exportView,
  filesView,
  loginPage,
  notificationsView,
  type Outcome,
  overview,
  passwordView,
  problemPage,
  removalView,
  removedPage,
} from './views.js';

/** Bytes of a form: a page of files. */
const largestForm = 16_384;
const filesPerPage = 100;
const tidyMs = 3_600_000;
const statuses: Readonly<Partial<Record<Problem, number>>> = {
  later: 429,
  busy: 429,
  sent: 409,
  unavailable: 503,
  missing: 422,
  tooShort: 422,
  unusable: 422,
  different: 422,
  otherAddress: 422,
  nothingChosen: 422,
};
/** 403 unless it has another. */
const statusOf = (problem: Problem): number => statuses[problem] ?? 403;
const refused = (field: string, problem: Problem): Outcome => ({
  status: statusOf(problem),
  problems: { [field]: problem },
});

/** Who is logged in. */
interface Signed {
  readonly owner: Jid;
  /** Of the login. */
  readonly key: string;
  readonly view: View;
}

export default defineModule({
  name: 'account_page',
  summary: 'Serves a page where users change their password, end sessions, get their data, and delete their account.',
  implements: {},
  wants: ['pushApps', 'registration', 'uploads', 'webClient'],
  provides: ['pageLogins'],
  config: z.strictObject({
    login_seconds: seconds({ min: 60, max: 86_400 }).default(1800).describe('How long a login to the page lasts.'),
    logins: count({ min: 1, max: 100 })
      .default(10)
      .describe('Maximum logins to the page of one account at a time. A further one ends the oldest.'),
    password_change: z
      .boolean()
      .default(true)
      .describe('Whether users may change their password there, if modules.register.password_change allows it.'),
    removal: z
      .boolean()
      .default(true)
      .describe('Whether users may delete their account there, if modules.register.removal allows it.'),
    export: z.boolean().default(true).describe('Whether users may download their data (XEP-0227).'),
    exports: count({ min: 1, max: 1000 })
      .default(4)
      .describe('Maximum downloads of the data of accounts at a time, of this host at one node.'),
  }),
  stores: { logins: map<Login>({ value: loginSchema }) },

  start: ({ host, config, stores, services, provide, log }) => {
    const { pushApps, registration, uploads, webClient } = services;
    const logins = new Logins(host, stores.logins, () => config.logins);
    provide('pageLogins', {
      list: async (owner) => (await logins.list(owner)).map(([id, { at }]) => ({ id, at })),
    });
    const devices = new Devices(host, logins);
    const downloads = new Downloads(host, config.exports);
    const has: Readonly<Record<Section, boolean>> = {
      overview: true,
      password: config.password_change && registration?.allows.passwordChange !== false,
      devices: true,
      notifications: pushApps !== undefined,
      files: uploads !== undefined,
      export: config.export,
      removal: config.removal && registration?.allows.removal !== false,
    };
    const offered = sections.filter((section) => has[section]);

    const viewOf = (request: HttpRequest, account?: View['account']): View =>
      viewFor(request, { domain: host.domain, account, sections: offered, chat: webClient?.url });

    // --- logging in -----------------------------------------------------------------------------------------------

    const endCookie = (request: HttpRequest) => setCookie(request, 'login', '', { path, maxAge: 0 });

    const showLogin = (
      request: HttpRequest,
      outcome: Outcome & { readonly address?: string; readonly next?: string } = {},
    ): HttpAnswer => {
      const { secret, set } = loginSecret(request, path);
      const { address = '', next = '', ...rest } = outcome;
      const cookies = set === undefined ? {} : { cookies: [set] };
      return loginPage(viewOf(request), { token: newToken(secret, 'login'), address, next, ...cookies, ...rest });
    };

    /** The account that a cookie names, unproved. */
    const claimed = (request: HttpRequest) => {
      const ticket = readTicket(cookieOf(request, 'login'));
      const owner = ticket && Jid.tryParse(`${ticket.local}@${host.domain}`);
      if (ticket === undefined || owner?.local !== ticket.local || owner.domain !== host.domain) return undefined;
      const view = viewOf(request, { bare: owner.bare, secret: ticket.secret });
      return { owner, key: keyOf(ticket), secret: ticket.secret, view };
    };

    const signedIn = async (request: HttpRequest): Promise<Signed | undefined> => {
      const found = claimed(request);
      if (found === undefined) return undefined;
      const standing = await host.askHome(using, found.owner, { key: found.key, form: null });
      return standing === 'in' ? found : undefined;
    };

    const logIn = async (request: HttpRequest): Promise<HttpAnswer> => {
      const form = formOf(request);
      const [address, password] = [form.get('address') ?? '', form.get('password') ?? ''];
      const next = sectionOf(form.get('next') ?? '');
      const again = (problem: Problem, name = 'form') =>
        showLogin(request, { address: address.slice(0, 2047), next: next ?? '', ...refused(name, problem) });
      // Otherwise another site could log a visitor in to an account of its own.
      const secret = cookieOf(request, 'form');
      if (!isOwnPage(request) || secret === '' || proveToken(secret, 'login', form.get('token') ?? '') === undefined)
        return again('cookies');
      if (address.trim() === '') return again('missing', 'address');
      if (password === '') return again('missing', 'password');
      const owner = accountNamed(address, host.domain);
      if (owner === undefined) return again('wrong');
      const checked = await host.checkPassword(owner, password, request.address);
      if ('refused' in checked) return again(checked.refused);
      const ticket = newTicket(owner.local!);
      const { login_seconds } = config;
      const login = { key: keyOf(ticket), epoch: checked.epoch, address: request.address, seconds: login_seconds };
      if (!(await host.askHome(opening, owner, login))) return again('wrong');
      const before = claimed(request);
      if (before !== undefined) await host.askHome(closing, before.owner, { key: before.key });
      log.info({ account: owner.bare, address: request.address }, 'a user logged in to the account page');
      const cookies = [
        setCookie(request, 'login', writeTicket(ticket), { path, maxAge: login_seconds }),
        setCookie(request, 'form', '', { path, maxAge: 0 }),
      ];
      return redirect(next === undefined ? path : `${path}/${next}`, cookies);
    };

    // --- the parts ------------------------------------------------------------------------------------------------

    const show: Readonly<
      Record<Section, (signed: Signed, outcome: Outcome, request: HttpRequest) => Promise<HttpAnswer>>
    > = {
      overview: async ({ view }, outcome) => overview(view, outcome),
      password: async ({ view }, outcome) => passwordView(view, outcome, host.accounts.minPasswordLength),
      devices: async ({ owner, key, view }, outcome) =>
        devicesView(view, outcome, await host.askHome(listing, owner, { key })),
      notifications: async ({ owner, view }, outcome) => notificationsView(view, outcome, await pushApps!.list(owner)),
      files: async ({ owner, view }, outcome, { query }) => {
        const usage = await uploads!.usage(owner.bare);
        const pages = Math.max(1, Math.ceil(usage.files / filesPerPage));
        const wanted = /^[1-9]\d{0,6}$/.test(query.get('page') ?? '') ? Number(query.get('page')) : 1;
        const at = Math.min(wanted, pages);
        const { files } = await uploads!.latest(owner, at * filesPerPage);
        return filesView(view, outcome, { files: files.slice((at - 1) * filesPerPage), usage, page: at, pages });
      },
      export: async ({ view }, outcome) => exportView(view, outcome),
      removal: async ({ view }, outcome) => removalView(view, outcome),
    };

    /** Whether the password that was entered again is right. Returns the problem if it is not. */
    const recheck = async (owner: Jid, request: HttpRequest, form: URLSearchParams): Promise<Outcome | undefined> => {
      const password = form.get('password') ?? '';
      if (password === '') return refused('password', 'missing');
      const checked = await host.checkPassword(owner, password, request.address);
      if (!('refused' in checked)) return undefined;
      return refused('password', checked.refused === 'wrong' ? 'wrongPassword' : 'later');
    };

    const changePassword: Action = async (signed, form, request) => {
      const { owner } = signed;
      const again = (outcome: Outcome) => show.password(signed, outcome, request);
      const [fresh, repeated] = [form.get('new') ?? '', form.get('again') ?? ''];
      if (fresh === '') return again(refused('new', 'missing'));
      if ([...fresh].length < host.accounts.minPasswordLength) return again(refused('new', 'tooShort'));
      if (fresh !== repeated) return again(refused('again', 'different'));
      const wrong = await recheck(owner, request, form);
      if (wrong !== undefined) return again(wrong);
      try {
        await host.accounts.setPassword(owner.bare, fresh);
      } catch (error) {
        const refusal = accountRefusal(error);
        if (!(refusal instanceof StanzaError)) throw error;
        if (refusal.condition === 'not-acceptable') return again(refused('new', 'unusable'));
        if (refusal.condition === 'resource-constraint') return again(refused('password', 'later'));
        throw refusal;
      }
      if (form.get('others') === '1') await host.askHome(ending, owner, { kind: 'others', id: '', key: '' });
      log.info({ account: owner.bare, address: request.address }, 'a user changed their password on the account page');
      return redirect(done('overview', 'passwordChanged'), [endCookie(request)]);
    };

    const endDevice: Action = async (signed, form) => {
      const kind = kinds.find((one) => one === form.get('kind')) satisfies Kind | undefined;
      if (kind === undefined) return problemPage(signed.view, 'devices', 'outdated', 403);
      const { owner, key } = signed;
      const ended = await host.askHome(ending, owner, { kind, id: form.get('id') ?? '', key });
      if (kind === 'others') return redirect(done('devices', 'endedOthers'));
      return redirect(done('devices', ended === 0 ? 'notThere' : 'ended'));
    };

    const removeApp: Action = async ({ owner }, form) => {
      const removed = await pushApps!.disable(owner, [form.get('id') ?? '']);
      return redirect(done('notifications', removed === 0 ? 'notThere' : 'appsRemoved'));
    };

    const deleteFiles: Action = async (signed, form, request) => {
      const ids = form.getAll('file').slice(0, filesPerPage);
      if (ids.length === 0) return show.files(signed, refused('form', 'nothingChosen'), request);
      const deleted = await uploads!.delete(signed.owner, [...new Set(ids)]);
      return redirect(done('files', deleted === 0 ? 'notThere' : 'filesDeleted'));
    };

    const download: Action = async (signed, form, request) => {
      const wrong = await recheck(signed.owner, request, form);
      if (wrong !== undefined) return show.export(signed, wrong, request);
      const answer = await downloads.begin(signed.owner);
      if (answer === undefined) return show.export(signed, refused('form', 'busy'), request);
      log.info({ account: signed.owner.bare, address: request.address }, 'a user downloads their data');
      return answer;
    };

    const removeAccount: Action = async (signed, form, request) => {
      const { owner } = signed;
      const typed = Jid.tryParse((form.get('address') ?? '').trim());
      if (typed === undefined || !typed.equals(owner))
        return show.removal(signed, refused('address', 'otherAddress'), request);
      const wrong = await recheck(owner, request, form);
      if (wrong !== undefined) return show.removal(signed, wrong, request);
      await host.accounts.remove(owner.bare);
      log.info({ account: owner.bare, address: request.address }, 'an account was deleted by its user');
      return removedPage(viewOf(request), owner.bare, [endCookie(request)]);
    };

    const logOut: Action = async ({ owner, key }, _, request) => {
      await host.askHome(closing, owner, { key });
      return redirect(done('overview', 'signedOut'), [endCookie(request)]);
    };

    /** By the name of the form. */
    const actions = new Map<string, readonly [section: Section, run: Action]>([
      ['password', ['password', changePassword]],
      ['devices/end', ['devices', endDevice]],
      ['notifications/remove', ['notifications', removeApp]],
      ['files/delete', ['files', deleteFiles]],
      ['export', ['export', download]],
      ['removal', ['removal', removeAccount]],
      ['logout', ['overview', logOut]],
    ]);

    // --- requests -------------------------------------------------------------------------------------------------

    /** What is wrong with the server is told as a page, too. */
    const told =
      (handler: (request: HttpRequest, name: string) => Promise<HttpAnswer>) => async (request: HttpRequest) => {
        if (!request.secure && !isLoopback(request.address))
          return problemPage(viewOf(request), 'overview', 'insecure', statusOf('insecure'));
        try {
          return await handler(request, request.rest.replace(/^\//, ''));
        } catch (error) {
          if (!(error instanceof StanzaError)) throw error;
          return problemPage(viewOf(request), 'overview', 'unavailable', statusOf('unavailable'));
        }
      };

    const get = told(async (request, name) => {
      if (name === 'style.css') return styleAnswer(request);
      const section = name === '' ? 'overview' : sectionOf(name);
      if (section === undefined || !has[section]) {
        const [of] = actions.get(name) ?? (name === 'login' ? (['overview'] as const) : []);
        // Somebody has reloaded the address of a form.
        if (of !== undefined && has[of]) return redirect(of === 'overview' ? path : `${path}/${of}`);
        throw new HttpError(404);
      }
      const signed = await signedIn(request);
      const notice = notices.find((one) => one === request.query.get('done'));
      const outcome = notice === undefined ? {} : { notice };
      if (signed !== undefined) return show[section](signed, outcome, request);
      if (section !== 'overview') return redirect(`${path}?next=${section}`);
      return showLogin(request, { ...outcome, next: sectionOf(request.query.get('next') ?? '') ?? '' });
    });

    const post = told(async (request, name) => {
      if (name === 'login') return logIn(request);
      const [section, run] = actions.get(name) ?? [];
      if (section === undefined || run === undefined || !has[section]) throw new HttpError(404);
      const form = formOf(request);
      const found = claimed(request);
      const signedOut = () => showLogin(request, { ...refused('form', 'signedOut'), next: sectionOf(section) ?? '' });
      if (found === undefined) return signedOut();
      const proved = isOwnPage(request) ? proveToken(found.secret, name, form.get('token') ?? '') : undefined;
      const standing = await host.askHome(using, found.owner, { key: found.key, form: proved ?? null });
      if (standing === 'none') return signedOut();
      if (proved === undefined || standing === 'sent') {
        const problem = proved === undefined ? 'outdated' : 'sent';
        return problemPage(found.view, section, problem, statusOf(problem));
      }
      return run(found, form, request);
    });

    return [
      http('GET', path, get, { below: true }),
      http('POST', path, post, { below: true, body: largestForm }),
      answers(opening, (given, owner) => logins.open(owner, given)),
      answers(using, ({ key, form }, owner) => logins.use(owner, key, form)),
      answers(closing, async ({ key }, owner) => {
        await logins.close(owner, [key]);
        return null;
      }),
      answers(listing, ({ key }, owner) => devices.list(owner, key)),
      answers(ending, ({ kind, id, key }, owner) => devices.end(owner, kind, id, key)),
      every(tidyMs, () => logins.tidy(), { job: 'account page logins' }),
    ];
  },
});

type Action = (signed: Signed, form: URLSearchParams, request: HttpRequest) => Promise<HttpAnswer>;

const sectionOf = (text: string): Section | undefined => sections.find((one) => one === text && one !== 'overview');

const done = (section: Section, notice: Notice): string =>
  `${section === 'overview' ? path : `${path}/${section}`}?done=${notice}`;

/** The browser asks for it with GET (RFC 9110 §15.4.4), so that a reload does not send the form again. */
const redirect = (location: string, cookies: readonly string[] = []): HttpAnswer => ({
  status: 303,
  headers: { location, 'cache-control': 'no-store', ...(cookies.length > 0 && { 'set-cookie': [...cookies] }) },
  body: '',
});

/** Throws HttpError. */
function formOf({ headers, body }: HttpRequest): URLSearchParams {
  if (!/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(headers['content-type'] ?? ''))
    throw new HttpError(415, 'Send the form of the page.');
  return new URLSearchParams(body.toString());
}

/** Browsers say where a form comes from (https://www.w3.org/TR/fetch-metadata/). The token proves it in any case. */
const isOwnPage = ({ headers }: HttpRequest): boolean => {
  const site = headers['sec-fetch-site'];
  return site === undefined || site === 'same-origin';
};

/** A bare name, or an address of this host. */
function accountNamed(text: string, domain: string): Jid | undefined {
  const name = text.trim();
  const jid = Jid.tryParse(name.includes('@') ? name : `${name}@${domain}`);
  return jid?.local !== undefined && jid.isBare && jid.domain === domain ? jid : undefined;
}

const styleTag = `"${createHash('sha256').update(style).digest('base64url').slice(0, 22)}"`;
const styleAnswer = (request: HttpRequest): HttpAnswer =>
  fileAnswer(request, {
    size: Buffer.byteLength(style),
    etag: styleTag,
    headers: { 'content-type': 'text/css; charset=utf-8', 'cache-control': 'no-cache' },
    read: (start, end) => Buffer.from(style).subarray(start, end),
  });
