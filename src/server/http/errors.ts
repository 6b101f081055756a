/** Errors as a page for people, and as problem details for programs (RFC 9457). */
import type { HttpError } from '../module/http.js';
import { escapeHtml } from './html.js';
import type { WholeAnswer } from './send.js';

/** @param accept the Accept header of the request */
export function errorAnswer(error: HttpError, accept: string | undefined): WholeAnswer {
  const { status, title, detail, headers } = error;
  if (wantsPage(accept))
    return { status, headers: { ...headers, 'content-type': 'text/html; charset=utf-8' }, body: page(error) };
  return {
    status,
    headers: { ...headers, 'content-type': 'application/problem+json' },
    // §3.1.1: without a type, "about:blank" is implied
    body: JSON.stringify({ title, status, ...(detail === undefined ? {} : { detail }) }),
  };
}

/** Browsers name text/html when somebody opens a page. */
const wantsPage = (accept = ''): boolean => /(?:^|,)\s*text\/html\s*(?:[;,]|$)/i.test(accept);

function page({ status, title, detail }: HttpError): string {
  const heading = escapeHtml(`${status} ${title}`);
  const text = detail === undefined || detail === title ? '' : `<p>${escapeHtml(detail)}</p>\n`;
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${heading}</title></head>
<body>
<h1>${heading}</h1>
${text}</body>
</html>
`;
}
