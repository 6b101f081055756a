/** The modules that come with the server. The order does not matter: see `Order` in server/module. */
import type { ModuleDefinition } from '../server/module/index.js';
import accountPage from './account-page/index.js';
import clientProtocols from './client-protocols.js';
import mamTrim from './proto-mam-trim.js';
import pushGateway from './push-gateway/index.js';
import session from './rfc-3921-session.js';
import presence from './rfc-6121-presence/index.js';
import roster from './rfc-6121-roster/index.js';
import rtbl from './rtbl.js';
import selfService from './self-service.js';
import sharedGroups from './shared-groups/index.js';
import strangers from './strangers/index.js';
import webClient from './web-client/index.js';
import webhooks from './webhooks/index.js';
import last from './xep-0012-last.js';
import disco from './xep-0030-disco.js';
import addresses from './xep-0033-addresses.js';
import muc from './xep-0045-muc/index.js';
import privateStorage from './xep-0049-private.js';
import adhoc from './xep-0050-adhoc.js';
import vcard from './xep-0054-vcard.js';
import directory from './xep-0055-search.js';
import pubsub from './xep-0060-pubsub/index.js';
import proxy65 from './xep-0065-proxy65/index.js';
import register from './xep-0077-register.js';
import version from './xep-0092-version.js';
import caps from './xep-0115-caps.js';
import clientCaps from './xep-0115-client-caps/index.js';
import admin from './xep-0133-admin/index.js';
import hostMeta from './xep-0156-host-meta.js';
import contact from './xep-0157-contact.js';
import offline from './xep-0160-offline/index.js';
import blocking from './xep-0191-blocking.js';
import ping from './xep-0199-ping.js';
import time from './xep-0202-time.js';
import externalServices from './xep-0215-external-services.js';
import carbons from './xep-0280-carbons.js';
import vcard4 from './xep-0292-vcard4/index.js';
import mam from './xep-0313-mam/index.js';
import delegation from './xep-0355-delegation/index.js';
import privilege from './xep-0356-privilege/index.js';
import push from './xep-0357-push/index.js';
import stanzaIds from './xep-0359-stanza-id.js';
import upload from './xep-0363-upload/index.js';
import pam from './xep-0376-pam.js';
import reports from './xep-0377-reports/index.js';
import avatars from './xep-0398-avatars.js';
import invites from './xep-0401-invites/index.js';
import bookmarks from './xep-0402-bookmarks/index.js';
import retraction from './xep-0424-retraction.js';
import inbox from './xep-0430-inbox.js';
import mamPreferences from './xep-0441-mam-prefs.js';
import outage from './xep-0455-outage/index.js';
import limits from './xep-0478-limits.js';
import serverInfo from './xep-0485-server-info.js';
import accountAffiliations from './xep-0489-affiliations.js';
import displayed from './xep-0490-displayed.js';
import clientAccess from './xep-0494-client-access.js';

export const standardModules: readonly ModuleDefinition[] = [
  accountPage,
  clientProtocols,
  mamTrim,
  pushGateway,
  session,
  presence,
  roster,
  rtbl,
  selfService,
  sharedGroups,
  strangers,
  webClient,
  webhooks,
  last,
  disco,
  addresses,
  muc,
  privateStorage,
  adhoc,
  vcard,
  directory,
  pubsub,
  proxy65,
  register,
  version,
  caps,
  clientCaps,
  admin,
  hostMeta,
  contact,
  offline,
  blocking,
  ping,
  time,
  externalServices,
  carbons,
  vcard4,
  mam,
  push,
  stanzaIds,
  upload,
  delegation,
  privilege,
  pam,
  reports,
  avatars,
  invites,
  bookmarks,
  retraction,
  inbox,
  mamPreferences,
  outage,
  limits,
  serverInfo,
  accountAffiliations,
  displayed,
  clientAccess,
];
