/**
 * The service worker: shows what the push service sends while the page is closed (https://w3c.github.io/push-api/), and
 * opens the chat when the user asks for it. The script that loads this one has set `waxwing`: the title of the page and an icon.
 */
const { title, icon } = self.waxwing;

const texts = {
  en: {
    messages: (count) => (count === 1 ? 'New message' : `${count} new messages`),
    requests: 'Somebody wants to become a contact',
  },
  de: {
    messages: (count) => (count === 1 ? 'Neue Nachricht' : `${count} neue Nachrichten`),
    requests: 'Jemand möchte ein Kontakt werden',
  },
};
const { messages, requests } = texts[navigator.language.slice(0, 2)] ?? texts.en;

/** `sender` and `body`: of the last message, if the server tells. Browsers demand that something is shown. */
function show({ account, count, pending, sender, body }) {
  const isRequest = count === undefined && pending !== undefined;
  return self.registration.showNotification(sender?.replace(/\/.*$/s, '') ?? title, {
    body: isRequest ? requests : (body ?? messages(count ?? 1)),
    icon: new URL(icon, self.registration.scope).href,
    // A later one of the same chat replaces it, and is heard.
    tag: `${account} ${sender ?? ''}`,
    renotify: true,
    timestamp: Date.now(),
    data: { account, chat: sender },
  });
}

/** Opens a chat in the page that is open, or in a new one. */
async function open({ account, chat }) {
  const { scope } = self.registration;
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const page = windows.find(({ url }) => url.replace(/[?#].*$/s, '') === scope);
  if (page === undefined) {
    const meant = chat === undefined ? '' : `#waxwing?${new URLSearchParams({ account, chat })}`;
    await self.clients.openWindow(scope + meant);
    return;
  }
  page.postMessage({ account, chat });
  await page.focus();
}

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('push', (event) => event.waitUntil(show(event.data === null ? {} : event.data.json())));
self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});
