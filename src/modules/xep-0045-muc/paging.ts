/** XEP-0059: pages of lists held in memory. */
export { pageOf } from '../../server/stanza/rsm.js';
