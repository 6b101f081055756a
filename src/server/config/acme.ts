/** `tls.acme`: certificates from an authority by ACME (RFC 8555). */
import { z } from 'zod';
import { because, wait } from './keys.js';

export const acme = z
  .strictObject({
    agree_terms: z
      .boolean()
      .default(false)
      .describe(
        'Whether you agree to the terms of service of the authority (for Let\'s Encrypt: https://letsencrypt.org/repository/). If true, the server orders certificates for all hosts that are public domains and have no "certificate" of their own, and renews them.',
      ),
    directory: z
      .string()
      .refine(
        (text) => text.startsWith('https://') && URL.canParse(text),
        because('is not an https address', 'write one such as "https://acme-v02.api.letsencrypt.org/directory"'),
      )
      .default('https://acme-v02.api.letsencrypt.org/directory')
      .describe(
        'The directory of the authority. To try things out without its rate limits: https://acme-staging-v02.api.letsencrypt.org/directory, whose certificates nobody trusts.',
      ),
    contact: z
      .array(
        z
          .string()
          .regex(
            /^mailto:[^\s?,]+@[^\s?,]+$/,
            because('is not a mailto: URI', 'write one such as "mailto:you@example.org"'),
          ),
      )
      .default([])
      .describe('Where the authority may write to you, a list of mailto: URIs. Not every authority does.')
      .meta({ example: 'mailto:you@example.org' }),
    challenge: z
      .enum(['http-01', 'tls-alpn-01', 'dns-01'])
      .default('http-01')
      .describe(
        'How to prove that a domain leads to this server. http-01: over HTTP on port 80 of the domain (listen.acme, or a proxy that passes /.well-known/acme-challenge/ to listen.http). tls-alpn-01: over TLS on port 443 (listen.https or listen.c2s_tls). dns-01: by a DNS record that dns_hook sets; no port needs to be open, and the certificate has a wildcard for the services.',
      ),
    dns_hook: z
      .array(z.string().min(1))
      .default([])
      .describe(
        'For dns-01: a program with its arguments, run without a shell. Three arguments are appended: "add" or "remove", the name of the TXT record, and its value. A name can have two values at once.',
      )
      .meta({ example: '/usr/local/bin/set-txt-record' }),
    dns_hook_seconds: wait(1).default(120).describe('Time limit of one run of dns_hook. Then it is killed.'),
    dns_wait_seconds: wait()
      .default(30)
      .describe(
        'For dns-01: how long to wait after the records are set until all DNS servers of the domain have them.',
      ),
    eab_key_id: z
      .string()
      .default('')
      .describe('External account binding, for authorities that require it: the key identifier that they gave you.'),
    eab_key: z
      .string()
      .regex(/^[A-Za-z0-9_-]*={0,2}$/, because('is not base64url', 'copy the HMAC key as the authority shows it'))
      .default('')
      .describe('External account binding: the HMAC key, in base64url.')
      .meta({ secret: true }),
    authorities: z
      .array(z.string().min(1))
      .default([])
      .describe(
        "Files with the authorities (PEM) that may have signed the certificate of the directory's own server. Empty: those of Node.",
      )
      .meta({ path: 'config', example: '/etc/waxwing/acme-ca.pem' }),
  })
  .prefault({})
  .describe("Certificates by ACME, from Let's Encrypt or another authority.");
