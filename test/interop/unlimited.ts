/** The configuration of a server without limits, for tests that load it. */
import { unlimitedRate } from '../compliance/phrases.js';

export const withoutLimits = {
  auth: {
    scram_iterations: 4096,
    password_min_length: 4,
    attempts_per_stream: 'unlimited',
    failures_per_address: 'unlimited',
    failures_per_account: 'unlimited',
  },
  c2s: { allow_plain_tcp_on_loopback: true, allow_sasl_plain_without_tls: true },
  limits: {
    offline_messages: 'unlimited',
    sessions_per_account: 'unlimited',
    rate: unlimitedRate,
    rate_account: {
      ...unlimitedRate,
      answer_bytes_per_second: 'unlimited',
      answer_byte_burst: 'unlimited',
      cpu_ms_per_second: 'unlimited',
      cpu_ms_burst: 'unlimited',
    },
    rate_unauthenticated: { stanzas_per_second: 'unlimited', stanza_burst: 'unlimited' },
  },
  modules: {
    disabled: ['proxy65'], // it has a port of its own
    offline: { bytes: 'unlimited' },
    muc: { lock_new_rooms: false, defaults: { persistent: true } },
    register: { open: true, per_address: 'unlimited', in_all: 'unlimited' },
    strangers: { local_users: 'known' }, // otherwise messages of unknown senders are held
  },
  stream_management: {
    queue_stanzas: 100_000,
    queue_bytes: '64 MiB',
    hibernated_per_account: 100,
    snapshot_after_seconds: 0,
  },
};
