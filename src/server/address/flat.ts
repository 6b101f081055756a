/**
 * Copies a string. A slice retains the string it was cut from, which may be a whole read of the socket; a slice of the
 * copy retains only the copy. (V8 makes a copy when it slices a concatenation.)
 */
export const flat = (text: string): string => ` ${text}`.slice(1);
