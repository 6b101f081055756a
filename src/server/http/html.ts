/** Text in HTML. */

const references: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For the content of elements, except scripts and styles, and for attributes in quotation marks. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => references[character]!);
