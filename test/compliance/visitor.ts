/** A browser on the account page, as far as a dialogue needs one: it has cookies, and sends the forms that it was shown. */
import assert from 'node:assert/strict';
import { type Scene, password as usualPassword } from './dialogue.js';
import { type Answer, ask, type Way } from './http-client.js';

export const accountPath = '/account';

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
export const unescapeHtml = (text: string): string =>
  text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => entities[name]!);

export interface ShownForm {
  readonly action: string;
  /** Hidden fields, and those with a value. */
  readonly values: Readonly<Record<string, string>>;
  readonly html: string;
}

export interface VisitorOptions {
  readonly way?: Way;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export class Visitor {
  readonly cookies = new Map<string, string>();
  /** The last page. */
  page: Answer | undefined;

  constructor(
    readonly scene: Scene,
    readonly options: VisitorOptions = {},
  ) {}

  get headers(): Record<string, string> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    return { accept: 'text/html', ...(cookie !== '' && { cookie }), ...this.options.headers };
  }

  async #asks(path: string, asked: Parameters<typeof ask>[3]): Promise<Answer> {
    const { way = 'http', host = 'localhost' } = this.options;
    const answer = await ask(this.scene, way, path, { host, ...asked });
    for (const line of [answer.headers['set-cookie'] ?? []].flat()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!;
      if (value === '') this.cookies.delete(name!);
      else this.cookies.set(name!, value!);
    }
    return answer;
  }

  /** Looks at a part of the page; '' is the first one. */
  async sees(part = ''): Promise<Answer> {
    const path = part === '' || part.startsWith('?') ? `${accountPath}${part}` : `${accountPath}/${part}`;
    this.page = await this.#asks(path, { headers: this.headers });
    return this.page;
  }

  /** The forms of the last page. */
  get forms(): ShownForm[] {
    return [...this.page!.text.matchAll(/<form method="post" action="([^"]+)">([\s\S]*?)<\/form>/g)].map(
      ([, action, html]) => ({
        action: action!,
        html: html!,
        values: Object.fromEntries(
          [...html!.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g)].map(([, name, value]) => [
            name!,
            unescapeHtml(value!),
          ]),
        ),
      }),
    );
  }

  form(name: string, isMeant: (form: ShownForm) => boolean = () => true): ShownForm {
    const found = this.forms.find((one) => one.action === `${accountPath}/${name}` && isMeant(one));
    assert.ok(found, `no form ${name} in ${this.page!.text}`);
    return found;
  }

  /** Sends fields as a form; those of the page that were shown are not added. */
  async posts(
    name: string,
    fields: Readonly<Record<string, string>> | URLSearchParams,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const body = (fields instanceof URLSearchParams ? fields : new URLSearchParams(fields)).toString();
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    return this.#asks(`${accountPath}/${name}`, {
      method: 'POST',
      body,
      headers: { ...this.headers, ...type, ...headers },
    });
  }

  /** Fills in and sends a form of the last page. What it leads to becomes the last page. */
  async sends(name: string, fields: Readonly<Record<string, string>> = {}, isMeant?: (form: ShownForm) => boolean) {
    const answer = await this.posts(name, { ...this.form(name, isMeant).values, ...fields });
    this.page = answer;
    if (answer.status === 303) {
      const at = String(answer.headers.location);
      assert.ok(at.startsWith(accountPath), at);
      this.page = await this.#asks(at, { headers: this.headers });
    }
    return this.page;
  }

  async logsIn(address: string, password = usualPassword): Promise<Answer> {
    await this.sees();
    return this.sends('login', { address, password });
  }

  /** Whether the server takes them for somebody. */
  async isIn(): Promise<boolean> {
    const { text, status } = await this.sees();
    assert.equal(status, 200);
    return text.includes(`action="${accountPath}/logout"`);
  }
}

export async function visitor(scene: Scene, address: string, options: VisitorOptions = {}): Promise<Visitor> {
  await scene.stage.account(address);
  const made = new Visitor(scene, options);
  await made.logsIn(address);
  assert.ok(await made.isIn());
  return made;
}

/** The message of a page about a form. */
export const problemsOf = ({ text }: Answer): string =>
  /<div class="problem" role="alert">(.*?)<\/div>/s.exec(text)?.[1]?.replace(/<[^>]+>/g, '') ?? '';
export const noticeOf = ({ text }: Answer): string => /role="status">([^<]*)</.exec(text)?.[1] ?? '';
