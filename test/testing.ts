/** `waxwing/testing`: dialogues with a started server (test/compliance/README.md), for modules and drivers of others too. */
export * from './compliance/dialogue.js';
export * from './compliance/phrases.js';
