/**
 * Security headers of every answer. A handler's own header of the same name replaces the default, so that what a path
 * needs beyond them stands where it is served.
 */
import type { OutgoingHttpHeaders } from 'node:http';

/** Answers are data: no page may show them, and they may load nothing. */
const always: OutgoingHttpHeaders = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'cross-origin-opener-policy': 'same-origin',
};

/** RFC 6797: half a year, for the requested host name alone. */
const hsts: OutgoingHttpHeaders = { ...always, 'strict-transport-security': 'max-age=15552000' };

/**
 * @param isOurTls TLS ends in this process, for a public host name. Behind a proxy its administrator decides, and names
 * such as localhost also belong to other programs, which may have no TLS.
 */
export const securityHeaders = (isOurTls: boolean): Readonly<OutgoingHttpHeaders> => (isOurTls ? hsts : always);
