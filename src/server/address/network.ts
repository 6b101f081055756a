/** Network addresses in the cluster: what concerns all nodes is counted at one of them. */
import { Jid } from './jid.js';

/** An address whose home counts what a network address does at all nodes. `block`: as by `addressBlock`. */
export function networkJid(block: string, domain: string): Jid {
  return Jid.parse(`net.${block.toLowerCase().replace(/[^0-9a-z.]/g, '-')}@${domain}`);
}
