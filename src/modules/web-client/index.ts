/**
 * The web client: Converse.js, unmodified, on a page that is configured for the requested host. Its files are in dist/web
 * (scripts/web.mjs); the administrator may replace the icons and add a style sheet.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type Assets, loadAssets } from '../../server/http/assets.js';
import { fileAnswer } from '../../server/http/files.js';
import { defineModule, type HttpAnswer, HttpError, type HttpRequest, http } from '../../server/module/index.js';
import { packedFiles } from './packed.js';
import { manifest, page, worker } from './page.js';
import { contentSecurityPolicy, workerPolicy } from './policy.js';
import { settingsFor } from './settings.js';

declare module '../../server/module/index.js' {
  interface Services {
    webClient: {
      /** Where users open it. Undefined if there is no HTTP listener. */
      readonly url: string | undefined;
    };
  }
}

/** The files of `branding` that are served. */
const brandable = ['icon.svg', 'icon-192.png', 'icon-512.png', 'style.css'];

export default defineModule({
  name: 'web_client',
  summary: 'Serves a web client, Converse.js, at the address of the host.',
  implements: {},
  provides: ['webClient'],
  wants: ['registration', 'pushGateway'],
  config: z.strictObject({
    path: z
      .string()
      .regex(/^(?:\/|(?:\/[\w-][\w.-]*)+)$/)
      .default('/')
      .describe('Path of the page: "/", or one such as "/chat".'),
    title: z.string().default('').describe('Title of the page and the installed app. Empty: the domain.'),
    branding: z
      .string()
      .default('')
      .describe(
        'Folder with files of your own: icon.svg, icon-192.png and icon-512.png replace the icons, style.css is added to the page. Empty: none.',
      )
      .meta({ path: 'config', example: '/etc/waxwing/web' }),
    settings: z
      .record(z.string(), z.unknown())
      .default({})
      .describe(
        'Settings of Converse.js (https://conversejs.org/docs/configuration/) that are added to those of the server or replace them.',
      )
      .meta({ example: '{ play_sounds = true, theme = "nordic" }' }),
  }),

  start: async ({ host, config, services, provide, log }) => {
    const path = config.path === '/' ? '' : config.path;
    const packed = await packedFiles();
    provide('webClient', {
      get url() {
        return packed === undefined || host.publicUrl === undefined ? undefined : `${host.publicUrl}${path}/`;
      },
    });
    if (packed === undefined) {
      log.info('the web client is not installed; npm start installs it');
      return [];
    }
    const { version, assets } = packed;
    const branding = config.branding === '' ? undefined : await brandingIn(config.branding);
    const isOwn = (name: string) => brandable.includes(name) && branding?.paths.includes(name) === true;
    const file = (name: string) => (isOwn(name) ? `web/own/${name}` : `web/${version}/${name}`);

    const title = config.title === '' ? host.domain : config.title;
    /** From the page to the root of the server. */
    const root = '../'.repeat(path.split('/').length - 1);
    const settings = () => {
      const { websocket_path, bosh } = host.config.http;
      const own = settingsFor({
        domain: host.domain,
        rooms: host.declared.services().find(({ module }) => module === 'muc')?.domain,
        mayRegister: services.registration?.isOpen === true,
        websocket: root + websocket_path.slice(1),
        bosh: bosh.enabled ? root + bosh.path.slice(1) : undefined,
        icon: file('icon-192.png'),
      });
      return { ...own, ...config.settings };
    };

    const answer = (request: HttpRequest, type: string, text: string, headers = {}): HttpAnswer => {
      const bytes = Buffer.from(text);
      return fileAnswer(request, {
        size: bytes.length,
        etag: `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`,
        headers: { 'content-type': type, 'cache-control': 'no-cache', ...headers },
        read: (start, end) => bytes.subarray(start, end),
      });
    };
    const showPage = (request: HttpRequest) => {
      const style = isOwn('style.css') ? file('style.css') : undefined;
      const push = services.pushGateway?.address;
      const text = page({ title, domain: host.domain, settings: settings(), file, style, push });
      const policy = contentSecurityPolicy(host.publicUrl);
      return answer(request, 'text/html; charset=utf-8', text, { 'content-security-policy': policy });
    };
    const sendFile = (request: HttpRequest, name: string) => {
      const [, own] = /^own\/(.*)$/.exec(name) ?? [];
      const found = own === undefined ? assets.answer(request, name) : isOwn(own) && branding?.answer(request, own);
      if (!found) throw new HttpError(404);
      return found;
    };
    const redirect = (location: string): HttpAnswer => ({ status: 307, headers: { location } });

    /** `name`: relative to the page. */
    const serve = (request: HttpRequest, name: string) => {
      if (name === '') return showPage(request);
      if (name === 'manifest.webmanifest')
        return answer(request, 'application/manifest+json', manifest({ title, file }));
      if (name === 'worker.js' && services.pushGateway !== undefined)
        return answer(request, 'text/javascript; charset=utf-8', worker({ title, file }), {
          'content-security-policy': workerPolicy,
        });
      if (name.startsWith('web/')) return sendFile(request, name.slice(4));
      throw new HttpError(404);
    };

    if (path !== '') {
      // The addresses in the page are relative to it.
      const there = `${path.slice(path.lastIndexOf('/') + 1)}/`;
      const below = (request: HttpRequest) =>
        request.rest === '' ? redirect(there) : serve(request, request.rest.slice(1));
      return [http('GET', path, below, { below: true })];
    }
    return [
      http('GET', '/', (request) => serve(request, '')),
      http('GET', '/manifest.webmanifest', (request) => serve(request, 'manifest.webmanifest')),
      http('GET', '/worker.js', (request) => serve(request, 'worker.js')),
      http('GET', '/web', (request) => serve(request, `web${request.rest}`), { below: true }),
      http('GET', '/favicon.ico', () => redirect(file('icon-192.png'))),
      // Only the page itself has something for search engines.
      http('GET', '/robots.txt', (request) => answer(request, 'text/plain; charset=utf-8', robots)),
    ];
  },
});

const brandingIn = (folder: string): Promise<Assets> =>
  loadAssets(folder).catch((error: Error) => {
    throw new Error(`branding: the folder cannot be read: ${error.message}`, { cause: error });
  });

const robots = 'User-agent: *\nAllow: /$\nDisallow: /\n';
