/** What all parts of the page have in common: the frame, forms with their tokens, fields with their errors. No scripts. */
import { escapeHtml } from '../../server/http/html.js';
import { preferredLanguage } from '../../server/http/language.js';
import type { HttpAnswer, HttpRequest } from '../../server/module/index.js';
import { oneLine } from '../../server/plain.js';
import { newToken } from './cookies.js';
import { en, type Notice, type Problem, type Section, type Texts } from './texts.js';
import { de } from './texts-de.js';

export const path = '/account';

const languages = { en, de };
type Language = keyof typeof languages;

/** A visitor, and what they may see. */
export interface View {
  readonly texts: Texts;
  readonly language: Language;
  readonly domain: string;
  /** The account that is logged in, and the secret of its login. */
  readonly account: { readonly bare: string; readonly secret: string } | undefined;
  /** The parts that there are here. */
  readonly sections: readonly Section[];
  /** Where the web client is. */
  readonly chat: string | undefined;
}

export function viewFor(request: HttpRequest, rest: Omit<View, 'texts' | 'language'>): View {
  const language = preferredLanguage(request.headers['accept-language'], ['en', 'de']);
  return { texts: languages[language], language, ...rest };
}

/** By the name of the field; `form` concerns a form as a whole. */
export type Problems = Readonly<Partial<Record<string, Problem>>>;

const policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/** Of every answer that concerns an account. */
export const privately = { 'cache-control': 'no-store', 'x-robots-tag': 'noindex', vary: 'Accept-Language, Cookie' };

export interface PageParts {
  readonly section?: Section | undefined;
  readonly title: string;
  readonly main: string;
  readonly status?: number | undefined;
  readonly notice?: Notice | undefined;
  readonly problems?: Problems | undefined;
  readonly cookies?: readonly string[] | undefined;
}

export function page(
  view: View,
  { section, title, main, status = 200, notice, problems, cookies }: PageParts,
): HttpAnswer {
  const { texts, language } = view;
  const isWrong = problems !== undefined && Object.keys(problems).length > 0;
  return {
    status,
    headers: {
      ...privately,
      'content-type': 'text/html; charset=utf-8',
      'content-language': language,
      'content-security-policy': policy,
      ...(cookies === undefined ? {} : { 'set-cookie': [...cookies] }),
    },
    body: `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${isWrong ? `${texts.error}: ` : ''}${escapeHtml(title)} – ${escapeHtml(view.domain)}</title>
<link rel="stylesheet" href="${path}/style.css">
</head>
<body>
<a class="skip" href="#main">${texts.skip}</a>
${view.account === undefined ? '' : headerOf(view, section, view.account.bare)}
<main id="main">
<h1>${escapeHtml(title)}</h1>
${notice === undefined ? '' : `<p class="notice" role="status">${texts.notices[notice]}</p>\n`}${isWrong ? summaryOf(view, problems) : ''}${main}
</main>
</body>
</html>
`,
  };
}

function headerOf(view: View, section: Section | undefined, bare: string): string {
  const { texts } = view;
  const links = view.sections.map((one) => {
    const current = one === section ? ' aria-current="page"' : '';
    return `<li><a href="${addressOf(one)}"${current}>${texts.sections[one]}</a></li>`;
  });
  return `<header>
<div class="who"><span>${texts.signedInAs} <strong>${shown(bare)}</strong></span>
${form(view, 'logout', `<button>${texts.signOut}</button>`)}</div>
<nav aria-label="${texts.navigation}"><ul>
${links.join('\n')}
</ul></nav>
</header>`;
}

/** Screen readers read it at once; it leads to the fields. */
function summaryOf({ texts }: View, problems: Problems): string {
  const lines = Object.entries(problems).map(([field, problem]) => {
    const text = texts.problems[problem!];
    return `<p>${field === 'form' ? text : `<a href="#${field}">${text}</a>`}</p>`;
  });
  return `<div class="problem" role="alert">${lines.join('')}</div>\n`;
}

export const addressOf = (section: Section): string => (section === 'overview' ? path : `${path}/${section}`);

/** Text that a user or an app has chosen. It reorders nothing around it. */
export const shown = (text: string): string => `<bdi>${escapeHtml(oneLine(text))}</bdi>`;

/** `name`: the path of the form below that of the page. It has a token if somebody is logged in. */
export function form({ account }: Pick<View, 'account'>, name: string, inner: string): string {
  const token = account === undefined ? '' : hidden('token', newToken(account.secret, name));
  return `<form method="post" action="${path}/${name}">${token}${inner}</form>`;
}

export const hidden = (name: string, value: string): string =>
  `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`;

export interface Field {
  readonly name: string;
  readonly label: string;
  readonly type: 'text' | 'password';
  readonly autocomplete: 'username' | 'current-password' | 'new-password' | 'off';
  readonly value?: string | undefined;
  readonly hint?: string | undefined;
  readonly isFixed?: boolean | undefined;
}

/** Its error, if any, stands at the field, and the first field with one has the focus. */
export function field({ texts }: View, problems: Problems, parts: Field): string {
  const { name, label, type, autocomplete, value, hint, isFixed } = parts;
  const problem = problems[name];
  const [first] = Object.keys(problems);
  const described = [
    ...(problem === undefined ? [] : [`${name}-error`]),
    ...(hint === undefined ? [] : [`${name}-hint`]),
  ].join(' ');
  const attributes = [
    `id="${name}" name="${name}" type="${type}" autocomplete="${autocomplete}"`,
    ...(value === undefined ? [] : [`value="${escapeHtml(value)}"`]),
    ...(type === 'text' ? ['autocapitalize="none" spellcheck="false" maxlength="2047"'] : ['maxlength="1024"']),
    isFixed === true ? 'readonly' : 'required',
    ...(described === '' ? [] : [`aria-describedby="${described}"`]),
    ...(problem === undefined ? [] : ['aria-invalid="true"']),
    ...(first === name ? ['autofocus'] : []),
  ];
  return `<label for="${name}">${escapeHtml(label)}</label>
${problem === undefined ? '' : `<p class="wrong" id="${name}-error">${texts.problems[problem]}</p>\n`}<input ${attributes.join(' ')}>
${hint === undefined ? '' : `<p class="hint" id="${name}-hint">${escapeHtml(hint)}</p>\n`}`;
}

export const passwordField = (view: View, problems: Problems): string =>
  field(view, problems, {
    name: 'password',
    label: view.texts.currentPassword,
    type: 'password',
    autocomplete: 'current-password',
  });

/** `rows`: cells in HTML. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], label: string): string {
  const cells = (row: readonly string[]) => row.map((cell) => `<td>${cell}</td>`).join('');
  return `<table aria-label="${escapeHtml(label)}">
<thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join('')}</tr></thead>
<tbody>
${rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n')}
</tbody>
</table>`;
}

/** `at`: ms since 1970. */
export function moment({ language }: View, at: number): string {
  const date = new Date(at);
  const text = date.toLocaleString(language, { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' });
  return `<time datetime="${date.toISOString()}">${text} UTC</time>`;
}

const units = ['B', 'kB', 'MB', 'GB', 'TB'];
export function size({ language }: View, bytes: number): string {
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toLocaleString(language, { maximumFractionDigits: 1 })} ${units[power]}`;
}
