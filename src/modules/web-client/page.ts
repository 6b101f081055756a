/** The page that loads Converse.js, its service worker, and its manifest (https://www.w3.org/TR/appmanifest/). */
import { escapeHtml } from '../../server/http/html.js';
import type { Settings } from './settings.js';

export interface PageParts {
  /** What the chat is called. */
  readonly title: string;
  readonly domain: string;
  readonly settings: Settings;
  /** URL, relative to the page, of a file of the web client. */
  file(name: string): string;
  /** Address of the push service that the page may use. Undefined without one. */
  readonly push: string | undefined;
  /** URL of the administrator's style sheet. Undefined without one. */
  readonly style: string | undefined;
}

const colour = '#2f4858';

/** Scripts are files: the Content-Security-Policy lets no other run. */
export function page({ title, domain, settings, file, style, push }: PageParts): string {
  const name = escapeHtml(title);
  const at = (path: string) => escapeHtml(file(path));
  const sheets = [at('converse.min.css'), at('page.css'), ...(style === undefined ? [] : [escapeHtml(style)])];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="theme-color" content="${colour}">
<title>${name}</title>
<link rel="manifest" href="manifest.webmanifest">
<link rel="icon" href="${at('icon.svg')}" type="image/svg+xml">
<link rel="apple-touch-icon" href="${at('icon-192.png')}">
<link rel="license" href="${at('THIRD-PARTY.txt')}">
${sheets.map((href) => `<link rel="stylesheet" href="${href}">`).join('\n')}
<script type="application/json" id="settings">${inScript(settings)}</script>
${push === undefined ? '' : `<script type="application/json" id="push">${inScript({ service: push })}</script>\n`}<script type="module" src="${at('converse.min.js')}"></script>
<script type="module" src="${at('start.js')}"></script>
</head>
<body class="converse-fullscreen">
<noscript>
<div class="plain">
<h1>${name}</h1>
<p>This page is a chat client that needs JavaScript. You can also use any other XMPP client, such as Conversations, Dino,
Gajim, Monal or Profanity, with your address <em>name</em>@${escapeHtml(domain)}.</p>
</div>
</noscript>
</body>
</html>
`;
}

/** JSON that no text in it can end the element of. */
const inScript = (value: Settings): string => JSON.stringify(value).replaceAll('<', '\\u003c');

/**
 * The script of the service worker (https://w3c.github.io/ServiceWorker/): what belongs to this host. It must be next to the
 * page, and is compared by browsers whenever the page is loaded; the file that it loads has another URL with each version.
 */
export const worker = ({ title, file }: Pick<PageParts, 'title' | 'file'>): string =>
  `self.waxwing = ${JSON.stringify({ title, icon: file('icon-192.png') })};
importScripts(${JSON.stringify(file('worker.js'))});
`;

export const manifest = ({ title, file }: Pick<PageParts, 'title' | 'file'>): string =>
  JSON.stringify({
    id: './',
    name: title,
    short_name: title,
    start_url: './',
    scope: './',
    display: 'standalone',
    background_color: colour,
    theme_color: colour,
    categories: ['social'],
    icons: [
      { src: file('icon.svg'), type: 'image/svg+xml', sizes: 'any' },
      { src: file('icon-192.png'), type: 'image/png', sizes: '192x192' },
      { src: file('icon-512.png'), type: 'image/png', sizes: '512x512' },
    ],
  });
