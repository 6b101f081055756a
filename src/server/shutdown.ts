/** How a server stops: in which order its parts end, and what waits for what. */
import { monotonic, poll } from './clock.js';
import type { Federation } from './federation.js';
import type { Listeners } from './listeners.js';
import type { Membership } from './membership.js';
import type { LocalHost } from './routing/host.js';
import { StreamError } from './stanza/errors.js';
import type { ClientStream } from './stream/c2s/client.js';
import type { Components } from './stream/component/index.js';
import type { Sessions } from './stream/sessions/index.js';

/** The parts that have streams. Those that a failed start has not made are undefined. */
export interface StoppingStreams {
  /** Ms that everything that depends on clients may take together. Storage may take as long as it needs. */
  readonly graceMs: number;
  readonly hosts: ReadonlyMap<string, LocalHost>;
  readonly streams: ReadonlySet<ClientStream>;
  readonly sessions: Sessions | undefined;
  readonly components: Components | undefined;
  readonly federation: Federation | undefined;
  readonly listeners: Listeners | undefined;
  readonly membership: Membership | undefined;
}

/**
 * Closes all ports and streams. In a cluster, sessions go on at the other nodes first. Resolves when what clients have
 * sent is handled, and resumable sessions are saved.
 */
export async function closeStreams(parts: StoppingStreams): Promise<void> {
  const { graceMs, hosts, streams, sessions, components, federation, listeners, membership } = parts;
  const closing = listeners?.close();
  await membership?.drain();
  membership?.stop();
  const deadline = monotonic() + graceMs;
  // New stanzas are no longer taken: clients that resume send them again. Pending ones are finished.
  const handled = Promise.all([...streams, components, federation].map((one) => one?.stopTaking()));
  await Promise.race([handled, new Promise((resolve) => setTimeout(resolve, graceMs / 2).unref())]);
  for (const host of hosts.values()) await host.emit('stopping', {});
  const goodbye = () => new StreamError('system-shutdown');
  // Staying sessions are first notified of ending ones, then saved; then their streams are closed.
  for (const stream of streams) if (!stream.resumable) stream.close(goodbye());
  await sessions?.snapshots.save();
  for (const stream of streams) stream.close(goodbye());
  // Components, and rooms and contacts on other servers, are told that these sessions ended: outboxes are flushed after
  // this turn.
  await new Promise(setImmediate);
  await Promise.race([federation?.whenSent(), new Promise((resolve) => setTimeout(resolve, graceMs / 4).unref())]);
  components?.close(goodbye());
  federation?.close();
  const others = [components, federation, membership];
  // The last answer of a BOSH session is under way when its stream is over.
  const left = () => others.reduce((sum, one) => sum + (one?.size ?? 0), streams.size + (listeners?.openRequests ?? 0));
  await poll(() => left() === 0, deadline);
  federation?.abandon();
  for (const { transport } of streams) transport.destroy();
  listeners?.destroyAll();
  await closing;
}
