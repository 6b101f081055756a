import type { ModuleDefinition } from '../server/module.js';
import session from './rfc-3921-session.js';
import ping from './xep-0199-ping.js';

export const standardModules: readonly ModuleDefinition[] = [session, ping];
