/** The Content-Security-Policy of the page (https://www.w3.org/TR/CSP3/): what Converse.js needs, and why. */

/** @param own the origin of the host's files */
const directives = (own: string): Readonly<Record<string, string>> => ({
  'default-src': "'none'",
  // Its own files alone. The cryptography of OMEMO is WebAssembly, which this allows without `eval`.
  'script-src': "'self' 'wasm-unsafe-eval'",
  // Its bundler inserts style elements that have no rules; these are the hashes of their content.
  'style-src':
    "'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-JRf3eZJIF59VkE1tlxlBPiCQXjGJ1uE88pEYh49RtTY='",
  // Attributes in its templates: sizes of avatars, colours of names.
  'style-src-attr': "'unsafe-inline'",
  'font-src': "'self'",
  // Avatars are data; pictures are blobs before they are sent and after they are decrypted. Those in messages come from
  // the upload services of any server.
  'img-src': `'self' data: blob: https: ${own}`,
  'media-src': `'self' data: blob: https: ${own}`,
  // The streams; uploads; encrypted files, which come from the upload services of any server.
  'connect-src': `'self' https: ${own}`,
  'manifest-src': "'self'",
  'form-action': "'none'",
  'base-uri': "'none'",
  'frame-ancestors': "'none'",
});

/** @param publicUrl that of the host, which may be another origin than that of the page */
export const contentSecurityPolicy = (publicUrl: string | undefined): string =>
  Object.entries(directives(publicUrl?.startsWith('http:') ? publicUrl : ''))
    .map(([name, value]) => `${name} ${value}`.trimEnd())
    .join('; ');

/** Of the service worker: it loads its own script and its icons, and nothing else. */
export const workerPolicy = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'";
