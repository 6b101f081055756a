import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metrics } from '../../src/server/metrics.js';
import { StreamCounts } from '../../src/server/stream/counts.js';

test('metrics in the format of Prometheus', async () => {
  const metrics = new Metrics();
  const counts = new StreamCounts();
  metrics.start({
    counts,
    connections: () => ({ tcp: 2 }),
    sessions: () => 3,
    hibernating: () => 1,
    snapshots: () => 2,
    outbound: () => 4096,
    certificates: () => new Map([['verona', 0]]),
    freeSpace: () => 1_000_000,
    engines: () => [{ name: 'sqlite', isWorking: false, failingSeconds: 3, refused: 7, pending: 2, pendingBytes: 10 }],
    quotas: () => ({ near: 2, reached: 1 }),
    components: () => [
      { domain: 'mantua', connections: [], received: 4, sent: 2, refusedLogins: 1, waitingBytes: 100 },
    ],
  });
  try {
    counts.opened.tcp = 5;
    metrics.limitHit('roster_items');
    metrics.limitHit('roster_items');
    for (const seconds of [0.0005, 0.002, 0.002, 60]) metrics.storageTook('roster', 'set', seconds);
    const { type, text } = await metrics.text();
    assert.match(type, /^text\/plain; version=0\.0\.4/);
    const lines = text.split('\n');
    assert.match(text, /^waxwing_certificate_days_left\{host="verona"\} -\d/m);
    for (const line of [
      'waxwing_connections{transport="tcp"} 2',
      'waxwing_outbound_bytes 4096',
      'waxwing_engine_up{engine="sqlite"} 0',
      'waxwing_engine_pending{engine="sqlite"} 2',
      'waxwing_engine_refused_total{engine="sqlite"} 7',
      'waxwing_component_connections{component="mantua"} 0',
      'waxwing_component_waiting_bytes{component="mantua"} 100',
      'waxwing_component_stanzas_received_total{component="mantua"} 4',
      'waxwing_component_stanzas_sent_total{component="mantua"} 2',
      'waxwing_component_login_failures_total{component="mantua"} 1',
      'waxwing_disk_free_bytes 1000000',
      'waxwing_quota_owners{state="near"} 2',
      'waxwing_quota_owners{state="reached"} 1',
      'waxwing_connections_opened_total{transport="tcp"} 5',
      'waxwing_sessions 3',
      'waxwing_sessions_hibernating 1',
      'waxwing_session_snapshots 2',
      '# HELP waxwing_sessions_kept Deprecated: renamed to waxwing_session_snapshots',
      'waxwing_sessions_kept 2',
      'waxwing_limits_hit_total{limit="roster_items"} 2',
      '# TYPE waxwing_storage_seconds histogram',
      'waxwing_storage_seconds_bucket{store="roster",operation="set",le="0.0005"} 1',
      'waxwing_storage_seconds_bucket{store="roster",operation="set",le="0.001"} 1',
      'waxwing_storage_seconds_bucket{store="roster",operation="set",le="0.0025"} 3',
      'waxwing_storage_seconds_bucket{store="roster",operation="set",le="5"} 3',
      'waxwing_storage_seconds_bucket{store="roster",operation="set",le="+Inf"} 4',
      'waxwing_storage_seconds_count{store="roster",operation="set"} 4',
    ])
      assert.ok(lines.includes(line), line);
    // counters are read, not accumulated, at every scrape
    assert.ok((await metrics.text()).text.includes('waxwing_limits_hit_total{limit="roster_items"} 2'));
  } finally {
    metrics.stop();
  }
});
