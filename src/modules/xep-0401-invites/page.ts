/**
 * XEP-0401 §5.2, XEP-0379 §3.3: the pages of an invitation in a browser. They work without scripts; with them, a new user gets
 * into the web client without logging in.
 */
import { createHash } from 'node:crypto';
import { escapeHtml } from '../../server/http/html.js';
import { preferredLanguage } from '../../server/http/language.js';
import { qrCode } from '../../server/http/qr.js';
import type { HttpAnswer, HttpRequest } from '../../server/module/index.js';
import { apps, type Platform, platformOf } from './apps.js';
import { en, type Refusal, type Texts } from './texts.js';
import { de } from './texts-de.js';

export interface InvitationParts {
  readonly domain: string;
  /** The address of who invites. */
  readonly inviter: string | undefined;
  /** Whether an account can be registered with it. */
  readonly registers: boolean;
  readonly uri: string;
  /** When it expires, in ms since 1970. */
  readonly until: number;
  /** Undefined if accounts cannot be made on this page. */
  readonly form: SignUpForm | undefined;
}

export interface SignUpForm {
  /** The name as it was entered, or as the invitation demands (`isGiven`). */
  readonly name: string;
  readonly isGiven: boolean;
  /** Characters of a password, at least. */
  readonly least: number;
  readonly refused?: Refusal | undefined;
}

const languages = { en, de };
const languageOf = ({ headers }: HttpRequest): keyof typeof languages =>
  preferredLanguage(headers['accept-language'], ['en', 'de']);

export const textsFor = (request: HttpRequest): Texts => languages[languageOf(request)];

/** Hands name and password of a new account to the web client (web/start.js), which is of the same origin. */
const script = `const key='waxwing-password',form=document.querySelector('form'),chat=document.querySelector('a[data-account]');
const password=sessionStorage.getItem(key);
sessionStorage.removeItem(key);
if(form)form.addEventListener('submit',()=>{sessionStorage.setItem(key,form.elements.password.value);form.querySelector('button').disabled=true});
if(chat&&password){sessionStorage.setItem('waxwing-login',JSON.stringify({jid:chat.dataset.account,password}));location.replace(chat.href)}`;

const style = `body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
.open,button{display:inline-block;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#2f4858;color:#fff;text-decoration:none;font:inherit;cursor:pointer}
.open:focus,.open:hover,button:focus,button:hover{outline:3px solid #7aa5bd}
button:disabled{opacity:.6}
a{color:#1d5f85}
label{display:block;margin:.6rem 0 .2rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem;border:1px solid #767676;border-radius:.3rem;color:inherit;background:inherit}
.alert{border-left:.3rem solid #b3261e;padding-left:.6rem}
svg{width:14rem;max-width:100%;background:#fff}
@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1f22}a{color:#8cc7e8}.open{color:#fff}}
`;

const hashed = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const policy = `default-src 'none'; style-src ${hashed(style)}; script-src ${hashed(script)}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`;

/** The page of an invitation; with a form that was refused, it says why. */
export function invitationPage(request: HttpRequest, parts: InvitationParts): HttpAnswer {
  const { domain, inviter, registers, uri, until, form } = parts;
  const texts = textsFor(request);
  const title = inviter === undefined ? texts.invitedTo(domain) : texts.invitedBy(inviter);
  const action = inviter === undefined ? texts.getAccount(domain) : texts.add(inviter);
  const account = registers ? texts.appMakesAccount(domain) : texts.needsAccount;
  const status = form?.refused === undefined ? 200 : statusOf[form.refused];
  return answer(
    request,
    status,
    title,
    `<p><a class="open" href="${escapeHtml(uri)}">${escapeHtml(action)}</a></p>
${form === undefined ? '' : formOf(form, domain, texts)}
<p>${escapeHtml(`${texts.install} ${account}`)}</p>
${appsFor(request)}
<p>${escapeHtml(texts.scan)}</p>
${qrCode(uri, action)}
<p>${escapeHtml(`${texts.explanation} ${texts.validUntil(dateIn(request, until))}`)}</p>`,
  );
}

export interface RoomParts {
  readonly name: string;
  readonly description: string;
  readonly uri: string;
  /** When the link expires, in ms since 1970; null if it does not. */
  readonly until: number | null;
}

/** The page of a link to a room. */
export function roomPage(request: HttpRequest, { name, description, uri, until }: RoomParts): HttpAnswer {
  const texts = textsFor(request);
  const action = texts.enter(name);
  const validity = until === null ? '' : ` ${texts.validUntil(dateIn(request, until))}`;
  return answer(
    request,
    200,
    texts.invitedToRoom(name),
    `${description === '' ? '' : `<p dir="auto">${escapeHtml(description)}</p>\n`}<p><a class="open" href="${escapeHtml(uri)}">${escapeHtml(action)}</a></p>
<p>${escapeHtml(`${texts.install} ${texts.needsAccount}`)}</p>
${appsFor(request)}
<p>${escapeHtml(texts.scan)}</p>
${qrCode(uri, action)}
<p>${escapeHtml(texts.explanation + validity)}</p>`,
  );
}

const dateIn = (request: HttpRequest, at: number): string =>
  `${new Date(at).toLocaleString(languageOf(request), { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })} UTC`;

/** The page after an account was made. `chat`: where the web client is. */
export function welcomePage(request: HttpRequest, account: string, chat: string | undefined): HttpAnswer {
  const texts = textsFor(request);
  const link =
    chat === undefined
      ? ''
      : `<p><a class="open" href="${escapeHtml(chat)}" data-account="${escapeHtml(account)}">${escapeHtml(texts.chat)}</a></p>\n`;
  return answer(
    request,
    201,
    texts.ready,
    `<p>${escapeHtml(texts.address(account))}</p>
${link}<p>${escapeHtml(texts.anyApp)}</p>
${appsFor(request)}`,
  );
}

const statusOf: Readonly<Record<Refusal, number>> = {
  taken: 409,
  unacceptable: 422,
  later: 429,
  used: 409,
  insecure: 403,
};

function formOf({ name, isGiven, least, refused }: SignUpForm, domain: string, texts: Texts): string {
  const alert =
    refused === undefined ? '' : `<p class="alert" role="alert">${escapeHtml(texts.refused[refused])}</p>\n`;
  return `<form method="post">
<h2>${escapeHtml(texts.here)}</h2>
${alert}<label for="name">${escapeHtml(texts.name)} (…@${escapeHtml(domain)})</label>
<input id="name" name="name" value="${escapeHtml(name)}" required maxlength="1023" autocomplete="username" autocapitalize="none" spellcheck="false"${isGiven ? ' readonly' : ''}>
<label for="password">${escapeHtml(texts.password)}</label>
<input id="password" name="password" type="password" required minlength="${least}" autocomplete="new-password" aria-describedby="rule">
<p id="rule">${escapeHtml(texts.passwordRule(least))}</p>
<p><button>${escapeHtml(texts.create)}</button></p>
</form>`;
}

/** Lists apps, those for the visitor's platform first. */
function appsFor({ headers }: HttpRequest): string {
  const own = platformOf(headers['user-agent']);
  const platforms = (Object.keys(apps) as Platform[]).sort((a, b) => Number(b === own) - Number(a === own));
  const links = (platform: Platform) =>
    apps[platform].map(({ name, from }) => {
      const stores = from.map(([store, url]) => `<a href="${escapeHtml(url)}" rel="noreferrer">${store}</a>`);
      return `${name} (${stores.join(', ')})`;
    });
  return `<ul>\n${platforms.map((platform) => `<li>${platform}: ${links(platform).join(', ')}</li>`).join('\n')}\n</ul>`;
}

function answer(request: HttpRequest, status: number, title: string, main: string): HttpAnswer {
  const language = languageOf(request);
  return {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-language': language,
      'content-security-policy': policy,
      // The address is a secret, and what it leads to changes.
      'cache-control': 'no-store',
      'x-robots-tag': 'noindex',
    },
    body: `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
${main}
</main>
<script>${script}</script>
</body>
</html>
`,
  };
}
