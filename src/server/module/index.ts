/** The module API. */

export type { Maybe } from '../maybe.js';
export { type SessionState, sessionState } from '../routing/session-state.js';
export * from './cli.js';
export * from './commands.js';
export * from './define.js';
export * from './definition.js';
export * from './demand-own.js';
export * from './disco.js';
export * from './events.js';
export * from './hooks.js';
export * from './host.js';
export * from './http.js';
export * from './or-command-error.js';
export * from './order.js';
export * from './portable.js';
export * from './questions.js';
export * from './requests.js';
export * from './services.js';
export * from './stored-from.js';
export * from './stores.js';
