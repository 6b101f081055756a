/** What the configuration grants to components on one host, and how it is announced to them. */
import type { Jid } from '../../server/address/jid.js';
import type { Host } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';

type Config = Host['config'];
export type Privileges = Config['components'][string]['privileges'][string];
type Requests = Privileges['roster'];

/** Nothing is granted. */
const none: Privileges = { roster: 'none', roster_push: false, message: 'none', presence: 'none', iq: {} };

/** Whether requests of a type are among the granted ones. */
export const includes = (granted: Requests | undefined, type: string | undefined): boolean =>
  granted === 'both' || (granted !== undefined && granted === type);

/** §4.1: only a component that may read rosters gets pushes. */
export const getsPushes = ({ roster, roster_push }: Privileges): boolean => roster_push && includes(roster, 'get');

export interface PermissionsParts {
  /** The host whose accounts are managed. */
  readonly domain: string;
  config(): Config;
  /** A component made a request without the privilege. `isFirst`: for this permission, since it was last connected. */
  refused(component: string, permission: string, isFirst: boolean): void;
}

export class Permissions {
  readonly #parts: PermissionsParts;
  /** Refused permissions by component: logged once. At most a few for each configured component. */
  readonly #refused = new Map<string, Set<string>>();

  constructor(parts: PermissionsParts) {
    this.#parts = parts;
  }

  /** The component that an address speaks for: only the component itself has privileges, its users do not. */
  componentOf({ domain, local }: Jid): string | undefined {
    return local === undefined && Object.hasOwn(this.#parts.config().components, domain) ? domain : undefined;
  }

  of(component: string): Privileges {
    return this.#parts.config().components[component]?.privileges[this.#parts.domain] ?? none;
  }

  /** Components with any privilege on this host. */
  *granted(): Iterable<readonly [Jid['domain'], Privileges]> {
    const { domain, config } = this.#parts;
    for (const [component, { privileges }] of Object.entries(config().components)) {
      const own = privileges[domain];
      if (own !== undefined) yield [component, own];
    }
  }

  /** Whether the component gets the presence of accounts of any host. */
  seesPresenceOf(component: string, host: string): boolean {
    const presence = this.#parts.config().components[component]?.privileges[host]?.presence ?? 'none';
    return presence !== 'none';
  }

  /** The error for a missing privilege. `permission` is one of few words. */
  refusal(component: string, permission: 'roster' | 'message' | 'iq', text?: string): StanzaError {
    let known = this.#refused.get(component);
    if (known === undefined) this.#refused.set(component, (known = new Set()));
    const isFirst = !known.has(permission);
    known.add(permission);
    this.#parts.refused(component, permission, isFirst);
    return new StanzaError('forbidden', text);
  }

  /** A component has connected again: its refusals are logged again. */
  forget(component: string): void {
    this.#refused.delete(component);
  }
}

/**
 * §4.2, §5.2, §6.2, §7.2: the announcement of privileges, in the current namespace and, for components that know only
 * version 0.2 of the specification, in the one before. `before`: what was announced; what is no longer granted is
 * announced as "none".
 */
export function announcement(granted: Privileges, before: Privileges = none): readonly Element[] {
  const perm = (access: 'roster' | 'message' | 'presence', more: Record<string, string> = {}) =>
    granted[access] === 'none' && before[access] === 'none'
      ? undefined
      : el('perm', { access, type: granted[access], ...more });
  const push = includes(granted.roster, 'get') ? { push: String(getsPushes(granted)) } : {};
  const namespaces = { ...Object.fromEntries(Object.keys(before.iq).map((ns) => [ns, 'none'])), ...granted.iq };
  const iq = Object.entries(namespaces).map(([ns, type]) => el('namespace', { ns, type }));
  return [
    el(
      'privilege',
      { xmlns: NS.privilege },
      perm('roster', push),
      perm('message'),
      iq.length === 0 ? undefined : el('perm', { access: 'iq' }, ...iq),
      perm('presence'),
    ),
    el('privilege', { xmlns: NS.privilegeOld }, perm('roster'), perm('message'), perm('presence')),
  ];
}
