/**
 * What modules must not do because each account has one home: access sessions of anyone except the owner of the current
 * passage, event, request or question (named `owner`). And because a session can move to another process, or be another
 * object after a restart: use a session as a key, compare sessions by identity, or write their fields. Modules declare
 * the state of sessions (`sessionState`).
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const folder = new URL('../../../src/modules/', import.meta.url);
const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => [name.replaceAll('\\', '/'), readFileSync(new URL(name, folder), 'utf8')] as const);

const rules: Readonly<Record<string, RegExp>> = {
  'a map by sessions': /\b(?:Weak)?(?:Map|Set)<Session\b/,
  'a map by objects': /\bWeak(?:Map|Set)</,
  'a session as itself': /(?:\bsession(?:\([^)]*\))? [!=]== (?!undefined\b)\w)|(?:\b[\w.]+ [!=]== (?:\w+\.)*session\b)/,
  'the sessions of somebody who is not the owner': /\bhost\s*\.\s*sessions\((?!owner(?:\.bare)?\))/,
  'what another module knows of somebody who is not the owner':
    /\b(?:roster|blocking|consent|vcard)\??\.(?:get|sees|isBlocked|knows)\((?!owner\b|(?:holder\.)jid\.bare\))/,
  'all sessions': /\.allSessions\(/,
  'a field of a session': /\.(?:acknowledges|connection|isOver|ledger|link|snapshot) = /,
};

/** By file, with the reason. */
const exceptions: Readonly<Record<string, string>> = {
  'rfc-6121-presence/index.ts: the sessions of somebody who is not the owner':
    'whom a crash of this process takes with it are those that live on it',
  'rfc-6121-presence/departed.ts: all sessions': 'writes down those that a crash of this process takes with it',
  'rfc-6121-presence/denied.ts: all sessions': 'each node has the policy, and tells its own clients',
  'xep-0045-muc/muc.ts: what another module knows of somebody who is not the owner':
    'goes straight to a session that lives where the room does',
  'xep-0133-admin/figures.ts: all sessions': 'answers a question to every node',
  'xep-0133-admin/messages.ts: all sessions': 'answers a question to every node',
  'xep-0356-privilege/presence.ts: all sessions': 'answers a question to every node',
  'xep-0215-external-services.ts: all sessions': 'each node reads its configuration again, and tells its own clients',
  'xep-0363-upload/index.ts: a map by objects':
    'the hosts of one server serve the addresses of each other, and have one list of running uploads',
  'xep-0401-invites/index.ts: a map by objects':
    'a stream before its login, which does not move, holds the token that its client has shown',
  'xep-0065-proxy65/index.ts: a map by objects': 'the hosts of one server, told apart by its accounts, share a relay',
};

const found = (text: string) => Object.entries(rules).flatMap(([what, pattern]) => (pattern.test(text) ? [what] : []));

test('the rules detect violations', () => {
  for (const [text, what] of [
    ['const asked = new WeakSet<Session>();', 'a map by sessions'],
    ['const all = new Map<Session, Sm>();', 'a map by sessions'],
    ['const all = new WeakMap<Origin, number>();', 'a map by objects'],
    ['if (host.session(from.jid) !== from) return;', 'a session as itself'],
    ['if (session === origin.session) return;', 'a session as itself'],
    ['if (seat.session === other) return;', 'a session as itself'],
    ['if (other === request.session) return;', 'a session as itself'],
    ['for (const one of host.sessions(contact)) one.send(stanza);', 'the sessions of somebody who is not the owner'],
    ['host\n  .sessions(jid.bare)', 'the sessions of somebody who is not the owner'],
    ['await services.roster.get(contact)', 'what another module knows of somebody who is not the owner'],
    ['blocking?.isBlocked(jid.bare, from)', 'what another module knows of somebody who is not the owner'],
    ['for (const one of host.allSessions()) one.send(stanza);', 'all sessions'],
    ['session.link = link;', 'a field of a session'],
  ] as const)
    assert.ok(found(text).includes(what), text);
  for (const text of [
    'if (session === undefined) return;',
    'session.jid.equals(from)',
    'if (host.session(to!) !== undefined)',
    'host.sessions(owner.bare).length',
    'host.sessions(owner)',
    'roster.get(owner.bare)',
    'pubsub.roster.get(holder.jid.bare)',
  ])
    assert.deepEqual(found(text), [], text);
});

test('modules follow them', () => {
  assert.ok(sources.length > 100);
  const broken = sources.flatMap(([name, text]) => found(text).map((what) => `${name}: ${what}`));
  assert.deepEqual(broken.sort(), Object.keys(exceptions).sort());
});
