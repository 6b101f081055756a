"""One device on slixmpp, led by lines of JSON: a request is {"id", "do", "args"}, answered by {"id", "result"} or
{"id", "error"}; what happens to the device is told as {"happening": ...}, in the terms of device.ts."""
import asyncio
import json
import ssl
import sys
import xml.etree.ElementTree as ET

from slixmpp import ClientXMPP
from slixmpp.xmlstream import ElementBase, register_stanza_plugin
from slixmpp.plugins.xep_0049 import PrivateXML


class Kept(ElementBase):
    """What the tests keep in private XML storage (XEP-0049)."""

    name = 'kept'
    namespace = 'test:kept'
    plugin_attrib = 'kept'
    interfaces = {'text'}

    def get_text(self):
        return self.xml.text or ''

    def set_text(self, text):
        self.xml.text = text


def write(value):
    sys.stdout.write(json.dumps(value) + '\n')
    sys.stdout.flush()


class Device(ClientXMPP):
    def __init__(self, options):
        super().__init__(
            f"{options['bare']}/{options['resource']}", options['password'], sasl_mech=options.get('only')
        )
        self.options = options
        self.is_wanted = False
        self.is_known = False
        self.logged_in_by = None
        self.waiting = None
        for plugin in ('0030', '0049', '0050', '0054', '0092', '0191', '0198', '0199', '0203', '0280', '0313'):
            self.register_plugin(f'xep_{plugin}')
        register_stanza_plugin(PrivateXML, Kept)
        # Subscriptions are the tests' to accept.
        self.auto_authorize = None
        self.auto_subscribe = False
        self.enable_direct_tls = options['tls'] == 'direct'
        self.enable_starttls = options['tls'] == 'starttls'
        self.enable_plaintext = False
        self.ca_certs = options['certificate']
        if options.get('tls12'):
            self.ssl_context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.add_event_handler('session_start', self.on_start)
        self.add_event_handler('session_resumed', lambda _: self.came_back(True))
        self.add_event_handler('failed_all_auth', lambda _: self.settle(RuntimeError('no mechanism was accepted')))
        self.add_event_handler('disconnected', self.on_disconnected)
        self.add_event_handler('message', self.on_message)
        self.add_event_handler('carbon_received', lambda s: self.on_carbon(s['carbon_received'], 'received'))
        self.add_event_handler('carbon_sent', lambda s: self.on_carbon(s['carbon_sent'], 'sent'))
        for kind in ('available', 'unavailable', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed'):
            self.add_event_handler(f'presence_{kind}', self.on_presence)
        self.add_event_handler('roster_update', self.on_roster)
        self.add_filter('out', self.note_mechanism)

    # --- what happens ---------------------------------------------------------------------------------------------

    def note_mechanism(self, stanza):
        if getattr(stanza, 'name', None) == 'auth':
            self.logged_in_by = stanza['mechanism']
        return stanza

    def settle(self, result):
        waiting, self.waiting = self.waiting, None
        if waiting is None or waiting.done():
            return
        if isinstance(result, Exception):
            waiting.set_exception(result)
        else:
            waiting.set_result(result)

    async def on_start(self, _):
        await self.get_roster()
        self.send_presence()
        if self.is_known:
            self.came_back(False)
        self.is_known = True
        self.settle(None)

    def came_back(self, resumed):
        write({'happening': {'kind': 'back', 'resumed': resumed}})

    def on_disconnected(self, _):
        if self.is_wanted:
            self.loop.call_later(0.2, self.go)
        else:
            self.settle(None)

    def go(self):
        if self.is_wanted:
            self.connect('127.0.0.1', self.options['port'])

    def tell(self, message, carbon):
        if message['type'] == 'error' or not message['body']:
            return
        delayed = message.xml.find('{urn:xmpp:delay}delay') is not None
        write({'happening': {'kind': 'message', 'from': message['from'].full, 'body': message['body'],
                             **({'carbon': carbon} if carbon else {}), 'delayed': delayed}})

    def on_message(self, message):
        if message.xml.find('{urn:xmpp:carbons:2}sent') is None \
                and message.xml.find('{urn:xmpp:carbons:2}received') is None:
            self.tell(message, None)

    def on_carbon(self, message, direction):
        self.tell(message, direction)

    def on_presence(self, presence):
        kind = presence['type']
        kind = kind if kind in ('unavailable', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed') else 'available'
        write({'happening': {'kind': 'presence', 'from': presence['from'].full, 'type': kind}})

    def on_roster(self, iq):
        if iq['type'] != 'set':
            return
        for jid, item in iq['roster']['items'].items():
            write({'happening': {'kind': 'contact', 'jid': str(jid), 'subscription': item['subscription'],
                                 'name': item['name']}})

    # --- what it is asked ------------------------------------------------------------------------------------------

    async def do_online(self):
        self.is_wanted = True
        self.is_known = False
        self.waiting = asyncio.get_running_loop().create_future()
        self.go()
        await asyncio.wait_for(self.waiting, 15)
        return {'jid': self.boundjid.full, 'mechanism': self.logged_in_by}

    async def do_offline(self):
        self.is_wanted = False
        self.end_session_on_disconnect = True
        await self.disconnect()

    async def do_say(self, to, body):
        self.send_message(mto=to, mbody=body, mtype='chat')

    async def do_subscribe(self, to):
        self.send_presence_subscription(pto=to, ptype='subscribe')

    async def do_accept(self, sender):
        self.send_presence_subscription(pto=sender, ptype='subscribed')

    async def do_roster(self):
        # Not by get_roster(), which asks only for what changed.
        iq = self.Iq()
        iq['type'] = 'get'
        iq.enable('roster')
        answer = await iq.send()
        return [{'jid': str(jid), 'subscription': item['subscription'], 'name': item['name'],
                 'groups': list(item['groups'])} for jid, item in answer['roster']['items'].items()]

    async def do_setContact(self, jid, name, groups):
        await self.update_roster(jid, name=name, groups=groups)

    async def do_removeContact(self, jid):
        await self.del_roster_item(jid)

    async def do_enableCarbons(self):
        await self['xep_0280'].enable()

    async def do_setCard(self, name):
        card = self['xep_0054'].make_vcard()
        card['FN'] = name
        await self['xep_0054'].publish_vcard(card)

    async def do_card(self, of):
        answer = await self['xep_0054'].get_vcard(of, cached=False)
        return answer['vcard_temp']['FN']

    async def do_setPrivate(self, text):
        kept = Kept()
        kept['text'] = text
        await self['xep_0049'].store(kept)

    async def do_private(self):
        answer = await self['xep_0049'].retrieve('kept')
        return answer['private']['kept']['text']

    async def do_archive(self, peer):
        answer = await self['xep_0313'].retrieve(with_jid=peer, rsm={'max': 50})
        return [result['mam_result']['forwarded']['stanza']['body'] for result in answer['mam']['results']]

    async def do_ping(self, to):
        await self['xep_0199'].send_ping(to)

    async def do_version(self, of):
        answer = await self['xep_0092'].get_version(of)
        return answer['software_version']['name']

    async def do_features(self, of):
        answer = await self['xep_0030'].get_info(of, cached=False)
        return sorted(answer['disco_info']['features'])

    async def do_block(self, jid):
        await self['xep_0191'].block(jid)

    async def do_unblock(self, jid):
        await self['xep_0191'].unblock(jid)

    async def do_blocked(self):
        answer = await self['xep_0191'].get_blocked()
        return [str(item['jid']) for item in answer['blocklist']['items']]

    async def do_commands(self, of):
        answer = await self['xep_0050'].get_commands(of)
        return [node for _, node, _ in answer['disco_items']['items']]


async def answer(device, request):
    try:
        result = await getattr(device, f"do_{request['do']}")(*request['args'])
        write({'id': request['id'], 'result': result})
    except Exception as error:  # whatever it is, the test wants to know
        write({'id': request['id'], 'error': f'{type(error).__name__}: {error!r}'})


async def main():
    device = Device(json.loads(sys.argv[1]))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(answer(device, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
