/** The XMLHttpRequest of browsers, as much of it as Strophe.js needs for BOSH. */
import { library } from './libraries.js';

interface Parser {
  readonly DOMParser: new () => { parseFromString(text: string, type: string): object };
}

/** Makes it global, where Strophe.js looks for it. */
export async function provideXhr(): Promise<void> {
  const { DOMParser } = await library<Parser>('@xmldom/xmldom');

  class XMLHttpRequest {
    onreadystatechange: (() => void) | undefined;
    readyState = 0;
    status = 0;
    responseText = '';
    responseXML: object | null = null;
    #target: { readonly method: string; readonly url: string } | undefined;
    readonly #headers: Record<string, string> = {};
    readonly #aborted = new AbortController();

    open(method: string, url: string): void {
      this.#target = { method, url };
      this.readyState = 1;
    }

    setRequestHeader(name: string, value: string): void {
      this.#headers[name] = value;
    }

    getAllResponseHeaders(): string {
      return '';
    }

    send(body: string): void {
      void this.#send(body);
    }

    abort(): void {
      this.#aborted.abort();
    }

    async #send(body: string): Promise<void> {
      const { method, url } = this.#target!;
      try {
        const { signal } = this.#aborted;
        const response = await fetch(url, { method, headers: this.#headers, body, signal });
        this.responseText = await response.text();
        this.status = response.status;
        if (this.responseText !== '') this.responseXML = new DOMParser().parseFromString(this.responseText, 'text/xml');
      } catch {
        // As in a browser, the program learns only that there is no answer.
        this.status = 0;
      }
      this.readyState = 4;
      this.onreadystatechange?.();
    }
  }

  Object.assign(globalThis, { XMLHttpRequest });
}
