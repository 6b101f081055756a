/** XEP-0388 §2.3: `<user-agent/>`, by which a client describes itself at its login. */
import { z } from 'zod';

export const userAgent = z.object({
  /** Identifies the installation. */
  clientId: z.string().optional(),
  software: z.string().optional(),
  device: z.string().optional(),
});
export type UserAgent = Readonly<z.output<typeof userAgent>>;

/** For people; undefined if the client has not described itself. */
export function labelOf({ software = '', device = '' }: UserAgent): string | undefined {
  return [software, device].filter((text) => text !== '').join(', ') || undefined;
}
