export const prepareLocal = (text: string): string => text.toLowerCase();
export const prepareDomain = (text: string): string => text.toLowerCase();
export const prepareResource = (text: string): string => text;
