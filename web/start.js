/**
 * Starts Converse.js with the settings that the server has written into the page. Addresses in them are relative to the page,
 * so that a proxy may serve it below any path.
 */
import converse from './converse.min.js';
import { canPush, pushPlugin } from './push.js';

const settings = JSON.parse(document.getElementById('settings').textContent);

const absolute = (address) => new URL(address, document.baseURI);

/** WebSocket has the encryption of the page. */
function socketAddress(address) {
  const url = absolute(address);
  url.protocol = url.protocol.replace('http', 'ws');
  return url.href;
}

/** Creates an element; children are nodes or text. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const link = (href, text) => element('a', { href, target: '_blank', rel: 'noopener' }, text);

// Converse.js defines its elements unless they are defined already.
/** Says where one logs in. */
class Brand extends HTMLElement {
  connectedCallback() {
    const icon = document.querySelector('link[rel="icon"]').href;
    this.replaceChildren(
      element(
        'div',
        { class: 'waxwing-brand' },
        element('img', { src: icon, alt: '' }),
        element('h1', {}, document.title),
      ),
    );
  }
}
/** Converse.js has pictures of its sponsors here, which would be loaded from another server. */
class Footer extends HTMLElement {
  connectedCallback() {
    this.replaceChildren(
      element(
        'footer',
        { class: 'waxwing-footer' },
        link('https://conversejs.org', `Converse.js ${converse.env.VERSION_NAME}`),
        ' · ',
        link(new URL('THIRD-PARTY.txt', import.meta.url).href, 'Licences'),
      ),
    );
  }
}
/** Converse.js has links here by which users would write to its authors instead of their administrators. */
class Links extends HTMLElement {}
customElements.define('converse-brand-logo', Brand);
customElements.define('converse-footer', Footer);
customElements.define('converse-controlbox-navbar', Links);

// After a reload Converse.js resumes the stream, whose stanzas have the resource of before, but would make up another one.
const account = 'conversejs-session-jid';
const address = 'waxwing-jid';
const before = sessionStorage.getItem(address) ?? '';
if (localStorage.getItem(account) === before.replace(/\/.*$/, '')) localStorage.setItem(account, before);
converse.plugins.add('waxwing', {
  initialize() {
    this._converse.api.listen.on('connected', () => sessionStorage.setItem(address, this._converse.session.get('jid')));
  },
});

const plugins = ['waxwing'];
const push = document.getElementById('push');
if (push !== null && canPush()) {
  plugins.push('waxwing-push');
  converse.plugins.add('waxwing-push', pushPlugin(converse, JSON.parse(push.textContent).service));
}

// The page of an invitation hands over the account that was just made.
const login = 'waxwing-login';
const made = JSON.parse(sessionStorage.getItem(login));
sessionStorage.removeItem(login);

converse.initialize({
  ...settings,
  ...(made && { ...made, auto_login: true }),
  whitelisted_plugins: [...plugins, ...(settings.whitelisted_plugins ?? [])],
  assets_path: new URL('.', import.meta.url).href,
  ...(settings.websocket_url && { websocket_url: socketAddress(settings.websocket_url) }),
  ...(settings.bosh_service_url && { bosh_service_url: absolute(settings.bosh_service_url).href }),
  ...(settings.notification_icon && { notification_icon: absolute(settings.notification_icon).href }),
});
