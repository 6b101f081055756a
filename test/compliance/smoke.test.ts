import { scenario } from './dialogue.js';

for (const transport of ['tcp', 'starttls', 'tls', 'websocket', 'wss'] as const) {
  scenario(`hello over ${transport}`, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard', { transport, presence: true });
    const juliet = await actor('juliet@localhost/balcony', { transport, presence: true });
    await romeo.sends(`<message to="juliet@localhost/balcony" type="chat" id="1"><body>hi</body></message>`);
    await juliet.receives(`<message from="{romeo}" type="chat" id="1"><body>hi</body></message>`);
    await juliet.sends(`<message to="{romeo}" type="chat" id="2"><body>ho</body></message>`);
    await romeo.receives(`<message from="juliet@localhost/balcony" type="chat" id="2"><body>ho</body></message>`);
    await romeo.receivesNothing();
    await romeo.sends(`<iq type="get" id="1" to="localhost"><query xmlns="nope"/></iq>`);
    await romeo.receives(`<iq from="localhost" to="romeo@localhost/orchard" id="1" type="error">
      <error type="cancel"><service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`);
    await romeo.receivesNothing();
    await romeo.closes();
    await romeo.isClosed();
  });
}
