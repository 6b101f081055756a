/**
 * `waxwing/module`: the API for modules, inside and outside this project. Includes the types of services and events of
 * the standard modules; a module adds its own by `declare module 'waxwing/module'`.
 */
/** For declaring configurations. */
export { z } from 'zod';
// Types that modules merge into Services and Events, by name where others need them.
export type * from '../modules/push-gateway/services.js';
export type {} from '../modules/rfc-6121-presence/services.js';
export type * from '../modules/rfc-6121-roster/services.js';
export type {} from '../modules/rtbl.js';
export type * from '../modules/shared-groups/services.js';
export type {} from '../modules/strangers/index.js';
export type {} from '../modules/web-client/index.js';
export type {} from '../modules/xep-0030-disco.js';
export type * from '../modules/xep-0045-muc/services.js';
export type { PrivateHome } from '../modules/xep-0049-private.js';
export type { CardFilter } from '../modules/xep-0054-vcard.js';
export type { Pep, PepChange, PepTerms } from '../modules/xep-0060-pubsub/pep.js';
export type {} from '../modules/xep-0077-register.js';
export type {} from '../modules/xep-0115-client-caps/index.js';
export type { HostMetaLink } from '../modules/xep-0156-host-meta.js';
export type {} from '../modules/xep-0157-contact.js';
export type {} from '../modules/xep-0160-offline/index.js';
export type {} from '../modules/xep-0191-blocking.js';
export type * from '../modules/xep-0313-mam/services.js';
export type * from '../modules/xep-0363-upload/services.js';
export type * from '../modules/xep-0377-reports/services.js';
export type {} from '../modules/xep-0398-avatars.js';
export type * from '../modules/xep-0401-invites/services.js';
export type * from '../modules/xep-0402-bookmarks/services.js';
export type * from '../modules/xep-0455-outage/services.js';
export type { Reported } from '../modules/xep-0489-affiliations.js';
export * from '../server/account-refusal.js';
export type * from '../server/accounts/index.js';
export * from '../server/address/jid.js';
export * from '../server/address/precis.js';
export * from '../server/clock.js';
export { bytes, count, seconds } from '../server/config/units.js';
export * from '../server/http/assets.js';
export * from '../server/http/files.js';
export * from '../server/limits/holdings.js';
export * from '../server/limits/portions.js';
export * from '../server/limits/rates.js';
export * from '../server/module/index.js';
export * from '../server/plain.js';
export type * from '../server/routing/link.js';
export type * from '../server/routing/passage.js';
export type * from '../server/routing/session.js';
export * from '../server/serial.js';
export * from '../server/stanza/addresses.js';
export * from '../server/stanza/datetime.js';
export * from '../server/stanza/define-form.js';
export * from '../server/stanza/delay.js';
export * from '../server/stanza/errors.js';
export * from '../server/stanza/forms.js';
export * from '../server/stanza/ids.js';
export * from '../server/stanza/ns.js';
export * from '../server/stanza/rsm.js';
export type * from '../server/stanza/speaker.js';
export * from '../server/stanza/stanza.js';
export * from '../server/stanza/stanza-id.js';
export * from '../server/stanza/stored.js';
export { columns, duration, facts, megabytes, paragraph, time, usageFacts } from '../server/words.js';
export * from '../server/xml/element.js';
export type * from '../storage/blobs.js';
export * from '../storage/cache.js';
export type * from '../storage/contract.js';
export * from '../storage/recent.js';
