/** Every namespace used by Waxwing, by its name in the code. */
export const NS = {
  // RFC 6120, 6121, 7395
  client: 'jabber:client',
  server: 'jabber:server',
  stream: 'http://etherx.jabber.org/streams',
  streams: 'urn:ietf:params:xml:ns:xmpp-streams',
  stanzas: 'urn:ietf:params:xml:ns:xmpp-stanzas',
  tls: 'urn:ietf:params:xml:ns:xmpp-tls',
  sasl: 'urn:ietf:params:xml:ns:xmpp-sasl',
  bind: 'urn:ietf:params:xml:ns:xmpp-bind',
  session: 'urn:ietf:params:xml:ns:xmpp-session',
  framing: 'urn:ietf:params:xml:ns:xmpp-framing',
  roster: 'jabber:iq:roster',
  rosterver: 'urn:xmpp:features:rosterver',
  subPreApproval: 'urn:xmpp:features:pre-approval',
  xml: 'http://www.w3.org/XML/1998/namespace',
  // XEPs by number
  dataForms: 'jabber:x:data', // 0004
  last: 'jabber:iq:last', // 0012
  discoInfo: 'http://jabber.org/protocol/disco#info', // 0030
  discoItems: 'http://jabber.org/protocol/disco#items', // 0030
  addresses: 'http://jabber.org/protocol/address', // 0033
  muc: 'http://jabber.org/protocol/muc', // 0045
  mucUser: 'http://jabber.org/protocol/muc#user',
  mucAdmin: 'http://jabber.org/protocol/muc#admin',
  mucOwner: 'http://jabber.org/protocol/muc#owner',
  mucRegister: 'http://jabber.org/protocol/muc#register',
  mucRequest: 'http://jabber.org/protocol/muc#request',
  mucRoomConfig: 'http://jabber.org/protocol/muc#roomconfig',
  mucRoomInfo: 'http://jabber.org/protocol/muc#roominfo',
  mucStableId: 'http://jabber.org/protocol/muc#stable_id',
  mucTraffic: 'http://jabber.org/protocol/muc#traffic',
  bookmarksPrivate: 'storage:bookmarks', // 0048
  private: 'jabber:iq:private', // 0049
  commands: 'http://jabber.org/protocol/commands', // 0050
  vcardTemp: 'vcard-temp', // 0054
  search: 'jabber:iq:search', // 0055
  rsm: 'http://jabber.org/protocol/rsm', // 0059
  pubsub: 'http://jabber.org/protocol/pubsub', // 0060
  pubsubEvent: 'http://jabber.org/protocol/pubsub#event',
  pubsubOwner: 'http://jabber.org/protocol/pubsub#owner',
  pubsubErrors: 'http://jabber.org/protocol/pubsub#errors',
  pam: 'urn:xmpp:pam:0', // 0376
  shim: 'http://jabber.org/protocol/shim', // 0131
  pubsubFilter: 'urn:xmpp:pubsub-filter:0', // 0462
  pps: 'urn:xmpp:pps:0', // 0465
  attachments: 'urn:xmpp:pubsub-attachments:1', // 0470
  attachmentsSummary: 'urn:xmpp:pubsub-attachments:summary:1',
  spaces: 'urn:xmpp:spaces:0', // 0503
  atom: 'http://www.w3.org/2005/Atom', // RFC 4287
  microblog: 'urn:xmpp:microblog:0', // 0277
  bytestreams: 'http://jabber.org/protocol/bytestreams', // 0065
  register: 'jabber:iq:register', // 0077
  registerFeature: 'http://jabber.org/features/iq-register',
  avatarData: 'urn:xmpp:avatar:data', // 0084
  avatarMetadata: 'urn:xmpp:avatar:metadata', // 0084
  chatStates: 'http://jabber.org/protocol/chatstates', // 0085
  version: 'jabber:iq:version', // 0092
  component: 'jabber:component:accept', // 0114
  caps: 'http://jabber.org/protocol/caps', // 0115
  httpBind: 'http://jabber.org/protocol/httpbind', // 0124
  xbosh: 'urn:xmpp:xbosh', // 0206
  pgpLegacy: 'jabber:x:encrypted', // 0027
  admin: 'http://jabber.org/protocol/admin', // 0133
  dataFormsValidate: 'http://jabber.org/protocol/xdata-validate', // 0122
  vcardUpdate: 'vcard-temp:x:update', // 0153
  serverInfo: 'http://jabber.org/network/serverinfo', // 0157
  receipts: 'urn:xmpp:receipts', // 0184
  dialback: 'jabber:server:dialback', // 0220
  dialbackFeature: 'urn:xmpp:features:dialback',
  bidi: 'urn:xmpp:bidi', // 0288
  bidiFeature: 'urn:xmpp:features:bidi',
  blocking: 'urn:xmpp:blocking', // 0191
  blockingErrors: 'urn:xmpp:blocking:errors',
  sm: 'urn:xmpp:sm:3', // 0198
  ping: 'urn:xmpp:ping', // 0199
  time: 'urn:xmpp:time', // 0202
  delay: 'urn:xmpp:delay', // 0203
  delayLegacy: 'jabber:x:delay', // 0091
  externalServices: 'urn:xmpp:extdisco:2', // 0215
  conference: 'jabber:x:conference', // 0249
  mucUnique: 'http://jabber.org/protocol/muc#unique', // 0307
  hats: 'urn:xmpp:hats:0', // 0317
  hatsCommands: 'urn:xmpp:hats:commands',
  reference: 'urn:xmpp:reference:0', // 0372
  carbons: 'urn:xmpp:carbons:2', // 0280
  carbonsRules: 'urn:xmpp:carbons:rules:0',
  forward: 'urn:xmpp:forward:0', // 0297
  vcard4: 'urn:ietf:params:xml:ns:vcard-4.0', // 0292
  vcard4Node: 'urn:xmpp:vcard4',
  contactsNode: 'urn:xmpp:contacts',
  xhtml: 'http://jabber.org/protocol/xhtml-im', // 0071
  outOfBand: 'jabber:x:oob', // 0066
  correct: 'urn:xmpp:message-correct:0', // 0308
  mam: 'urn:xmpp:mam:2', // 0313
  mamExtended: 'urn:xmpp:mam:2#extended',
  mamGroupchatField: 'urn:xmpp:mam:2#groupchat-field',
  markers: 'urn:xmpp:chat-markers:0', // 0333
  hints: 'urn:xmpp:hints', // 0334
  jingleMessage: 'urn:xmpp:jingle-message:0', // 0353
  csi: 'urn:xmpp:csi:0', // 0352
  push: 'urn:xmpp:push:0', // 0357
  clientAccess: 'urn:xmpp:cam:0', // 0494
  upload: 'urn:xmpp:http:upload:0', // 0363
  uploadOld: 'urn:xmpp:http:upload',
  uploadPurpose: 'urn:xmpp:http:upload:purpose:0',
  stanzaId: 'urn:xmpp:sid:0', // 0359
  reporting: 'urn:xmpp:reporting:1', // 0377
  pars: 'urn:xmpp:pars:0', // 0379
  invite: 'urn:xmpp:invite', // 0401, before 0.4
  ibrToken: 'urn:xmpp:ibr-token:0', // 0445
  openPgp: 'urn:xmpp:openpgp:0', // 0373
  encryption: 'urn:xmpp:eme:0', // 0380
  delegation: 'urn:xmpp:delegation:2', // 0355
  privilege: 'urn:xmpp:privilege:2', // 0356
  privilegeOld: 'urn:xmpp:privilege:1',
  omemo: 'urn:xmpp:omemo:2', // 0384
  omemoLegacy: 'eu.siacs.conversations.axolotl',
  bind2: 'urn:xmpp:bind:0', // 0386
  sasl2: 'urn:xmpp:sasl:2', // 0388
  orderBy: 'urn:xmpp:order-by:1', // 0413
  occupantId: 'urn:xmpp:occupant-id:0', // 0421
  fasten: 'urn:xmpp:fasten:0', // 0422
  avatarConversion: 'urn:xmpp:pep-vcard-conversion:0', // 0398
  bookmarks: 'urn:xmpp:bookmarks:1', // 0402
  bookmarksCompat: 'urn:xmpp:bookmarks:1#compat',
  bookmarksCompatPep: 'urn:xmpp:bookmarks:1#compat-pep',
  selfPing: 'http://jabber.org/protocol/muc#self-ping-optimization', // 0410
  bookmarksConversion: 'urn:xmpp:bookmarks-conversion:0', // 0411
  retract: 'urn:xmpp:message-retract:1', // 0424
  retractOld: 'urn:xmpp:message-retract:0',
  retractTombstone: 'urn:xmpp:message-retract:1#tombstone',
  moderate: 'urn:xmpp:message-moderate:1', // 0425
  moderateOld: 'urn:xmpp:message-moderate:0',
  inbox: 'urn:xmpp:inbox:1', // 0430
  fullText: 'urn:xmpp:fulltext:0', // 0431
  channelBinding: 'urn:xmpp:sasl-cb:0', // 0440
  reactions: 'urn:xmpp:reactions:0', // 0444
  reply: 'urn:xmpp:reply:0', // 0461
  notificationSettings: 'urn:xmpp:notification-settings:1', // 0492
  fileSharing: 'urn:xmpp:sfs:0', // 0447
  streamLimits: 'urn:xmpp:stream-limits:0', // 0478
  saslUpgrade: 'urn:xmpp:sasl:upgrade:0', // 0480
  scramUpgrade: 'urn:xmpp:scram-upgrade:0', // 0480
  fast: 'urn:xmpp:fast:0', // 0484
  channelSearch: 'urn:xmpp:channel-search:0', // 0433
  channelSearchQuery: 'urn:xmpp:channel-search:0:search',
  channelSearchOld: 'https://xmlns.zombofant.net/muclumbus/search/1.0', // its predecessor
  rai: 'urn:xmpp:rai:0', // 0437
  mentions: 'urn:xmpp:mmn:0', // 0452
  explicitMentions: 'urn:xmpp:mentions:0', // 0513
  mav: 'urn:xmpp:muc:affiliations:1', // 0463
  serviceOutage: 'urn:xmpp:sos:0', // 0455
  publicServerInfo: 'urn:xmpp:serverinfo:0', // 0485
  displayed: 'urn:xmpp:mds:displayed:0', // 0490
  displayedAssist: 'urn:xmpp:mds:server-assist:0',
  mucToken: 'urn:xmpp:muc-token-invite:0', // 0488
  callInvites: 'urn:xmpp:call-invites:0', // 0482
  raa: 'urn:xmpp:raa:0', // 0489
  jid: 'urn:xmpp:jid:0', // 0268, in forwarded reports
  gcReport: 'urn:xmpp:gcreport:0', // ProtoXEP: Group Chat Reporting
  pie: 'urn:xmpp:pie:0', // 0227
  pieMam: 'urn:xmpp:pie:0#mam',
  pieScram: 'urn:xmpp:pie:0#scram',
  pieOld: 'http://www.xmpp.org/extensions/xep-0227.html#ns', // before 1.0
  privacy: 'jabber:iq:privacy', // 0016, in exports of other servers
  portable: 'urn:waxwing:portable:0', // what 0227 has no elements for
  xinclude: 'http://www.w3.org/2001/XInclude',
  mamTrim: 'urn:xmpp:mamtrim:0', // ProtoXEP: Message Archive Management: Trim Command
} as const;
