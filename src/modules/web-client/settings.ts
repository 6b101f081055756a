/** The settings of Converse.js for a host. */

export type Settings = Readonly<Record<string, unknown>>;

export interface Place {
  readonly domain: string;
  /** Address of the host's service for rooms. Undefined without one. */
  readonly rooms: string | undefined;
  readonly mayRegister: boolean;
  /** URLs relative to the page. */
  readonly websocket: string;
  /** Undefined if it is off. */
  readonly bosh: string | undefined;
  readonly icon: string;
}

/** Those of https://conversejs.org/docs/configuration/ that differ from their defaults. */
export const settingsFor = ({ domain, rooms, mayRegister, websocket, bosh, icon }: Place): Settings => ({
  view_mode: 'fullscreen',
  authentication: 'login',
  // The addresses below are those of this host.
  discover_connection_methods: false,
  websocket_url: websocket,
  ...(bosh === undefined ? {} : { bosh_service_url: bosh }),
  // Not locked, which would also keep users from adding contacts at other domains.
  default_domain: domain,
  // Without a search, the form to join a room has no field for its address.
  ...(rooms === undefined ? { muc_search_service: domain } : { muc_domain: rooms, muc_search_service: rooms }),
  muc_nickname_from_jid: true,
  allow_registration: mayRegister,
  ...(mayRegister ? { registration_domain: domain } : {}),
  notification_icon: icon,
  show_background: true,
  // Nothing is requested from third parties: lists of providers, players of other sites.
  xmpp_providers_url: '',
  providers_link: '',
  autocomplete_providers_url: '',
  embed_3rd_party_media_players: false,
});
