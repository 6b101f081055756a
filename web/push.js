/**
 * Notifications while the page is closed: the browser's subscription (https://w3c.github.io/push-api/) is registered with
 * the push service of the server, which the account then enables (XEP-0357). worker.js shows what arrives.
 */
const NS = { commands: 'http://jabber.org/protocol/commands', forms: 'jabber:x:data', push: 'urn:xmpp:push:0' };
const publishOptions = 'http://jabber.org/protocol/pubsub#publish-options';
/** What was registered: account, endpoint, device, node, secret, and when. */
const storedAs = 'waxwing-push';
/** A registration is renewed after a day, in case the service has lost it. In ms. */
const renewAfter = 86_400_000;

const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

/** The chat that a notification was about, in the address of the page: `#waxwing?account=…&chat=…`. */
const mark = '#waxwing?';

/** The plugin of Converse.js. `service`: address of the push service. */
export function pushPlugin(converse, service) {
  const { stx } = converse.env;
  let api;
  let session;
  const account = () => session.get('bare_jid');

  const known = () => {
    const found = JSON.parse(localStorage.getItem(storedAs));
    return found?.account === account() ? found : undefined;
  };

  /** Runs a command of the service, and returns the values of the form in its answer. */
  async function run(node, fields) {
    const form = () =>
      stx`<x xmlns="${NS.forms}" type="submit">${Object.entries(fields).map(
        ([name, value]) => stx`<field var="${name}"><value>${value}</value></field>`,
      )}</x>`;
    const answer = await api.sendIQ(
      stx`<iq type="set" to="${service}" xmlns="jabber:client">
        <command xmlns="${NS.commands}" node="${node}" action="execute">${fields ? form() : ''}</command></iq>`,
    );
    const values = [...answer.getElementsByTagNameNS(NS.forms, 'field')].map((field) => [
      field.getAttribute('var'),
      field.getElementsByTagNameNS(NS.forms, 'value')[0]?.textContent,
    ]);
    return Object.fromEntries(values);
  }

  async function subscription(worker, key) {
    const present = await worker.pushManager.getSubscription();
    if (present !== null && base64url(present.options.applicationServerKey) === key) return present;
    // Of another server, or before it had another key.
    await present?.unsubscribe();
    return worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  }

  /** Registers the subscription unless it is registered. */
  async function register(worker) {
    const { 'vapid-key': key } = await run('register-push-web');
    const { endpoint, keys } = (await subscription(worker, key)).toJSON();
    const before = known();
    if (before?.endpoint === endpoint && Date.now() - before.at < renewAfter) return before;
    const device = before?.device ?? crypto.randomUUID();
    const { node, secret } = await run('register-push-web', { endpoint, ...keys, 'device-id': device });
    const registered = { account: account(), endpoint, device, node, secret, at: Date.now() };
    localStorage.setItem(storedAs, JSON.stringify(registered));
    return registered;
  }

  /** Each session enables it, because a session that does is not notified while it is connected. */
  async function enable() {
    const worker = await navigator.serviceWorker.register('worker.js', { updateViaCache: 'none' });
    // Converse.js asks the user.
    const permission = await navigator.permissions.query({ name: 'notifications' });
    if (permission.state !== 'granted') {
      permission.onchange = () => attempt(enable);
      return;
    }
    permission.onchange = null;
    const { node, secret } = await register(worker);
    await api.sendIQ(
      stx`<iq type="set" xmlns="jabber:client"><enable xmlns="${NS.push}" jid="${service}" node="${node}">
        <x xmlns="${NS.forms}" type="submit">
        <field var="FORM_TYPE" type="hidden"><value>${publishOptions}</value></field>
        <field var="secret"><value>${secret}</value></field></x></enable></iq>`,
    );
  }

  /** Who has logged out is not notified any more. */
  async function forget() {
    const before = known();
    if (before === undefined) return;
    localStorage.removeItem(storedAs);
    const worker = await navigator.serviceWorker.getRegistration('./');
    const present = await worker?.pushManager.getSubscription();
    await Promise.all([
      present?.unsubscribe(),
      api.sendIQ(
        stx`<iq type="set" xmlns="jabber:client"><disable xmlns="${NS.push}" jid="${service}" node="${before.node}"/></iq>`,
      ),
      run('unregister-push', { 'device-id': before.device }),
    ]);
  }

  /** The chat goes on without it. */
  async function attempt(work) {
    try {
      if (api.connection.connected()) await work();
    } catch (error) {
      console.warn('Notifications while the page is closed:', error);
    }
  }

  /** Opens a chat or a room. */
  async function open({ account: of, chat }) {
    if (!chat || of !== account()) return;
    const jid = chat.replace(/\/.*$/s, '');
    const isContact = (await api.contacts.get(jid)) !== undefined;
    const domain = jid.slice(jid.indexOf('@') + 1);
    const isRoom = !isContact && (await api.disco.getIdentity('conference', 'text', domain)) !== undefined;
    await (isRoom ? api.rooms : api.chats).open(jid, {}, true);
  }

  function openMarked() {
    if (!location.hash.startsWith(mark)) return;
    const meant = Object.fromEntries(new URLSearchParams(location.hash.slice(mark.length)));
    history.replaceState(history.state, '', location.pathname + location.search);
    attempt(() => open(meant));
  }

  return {
    initialize() {
      ({ api } = this._converse);
      const connected = () => {
        ({ session } = this._converse);
        openMarked();
        attempt(enable);
      };
      api.listen.on('connected', connected);
      api.listen.on('reconnected', connected);
      api.listen.on('beforeLogout', () => attempt(forget));
      navigator.serviceWorker.addEventListener('message', ({ data }) => attempt(() => open(data)));
      addEventListener('hashchange', () => api.connection.connected() && openMarked());
    },
  };
}

/** Over plain HTTP, and in some private windows, browsers have none of it. */
export const canPush = () => 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window;
