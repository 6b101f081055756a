/** RFC 5122 §2.2: an address in a URI. */
export const escaped = (address: string): string => address.split('@').map(encodeURIComponent).join('@');
