/** QR codes in pages. */
import encodeQR from 'qr';
import { escapeHtml } from './html.js';

/** An SVG element with a QR code of a text. `label`: what it is, for those who cannot see it. */
export const qrCode = (text: string, label: string): string =>
  encodeQR(text, 'svg', { ecc: 'medium' }).replace('<svg ', `<svg role="img" aria-label="${escapeHtml(label)}" `);
