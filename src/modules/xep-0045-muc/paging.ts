/** XEP-0059: pages of the lists that the service holds in memory. */
export { pageOf } from '../../server/stanza/rsm.js';
