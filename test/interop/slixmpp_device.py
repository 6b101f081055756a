"""One device on slixmpp, controlled by lines of JSON: a request is {"id", "do", "args"}, answered by {"id",
"result"} or {"id", "error"}; events are printed as {"happening": ...}, in the terms of device.ts."""
import asyncio
import base64
import json
import ssl
import sys
from datetime import datetime

from slixmpp import ClientXMPP, JID
from slixmpp.exceptions import XMPPError
from slixmpp.xmlstream import ElementBase, register_stanza_plugin
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath
from slixmpp.plugins.xep_0048.stanza import Bookmarks
from slixmpp.plugins.xep_0049 import PrivateXML
from slixmpp.plugins.xep_0292.stanza import VCard4


# Seconds for a login, and for an end; below the patience of those who ask.
PATIENCE = 50


class Kept(ElementBase):
    """Data of the tests in private XML storage (XEP-0049)."""

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
        for plugin in ('0004', '0030', '0045', '0048', '0049', '0050', '0054', '0084', '0092', '0153', '0191', '0198', '0199', '0203', '0249',
                       '0280', '0292', '0313', '0359', '0410', '0421', '0424', '0425', '0441'):
            self.register_plugin(f'xep_{plugin}')
        self.has_omemo = options.get('omemo', False)
        if self.has_omemo:
            import omemo_plugin

            self.register_plugin('xep_0384', module=omemo_plugin)
            self.keys_are_ready = asyncio.get_running_loop().create_future()
            self.add_event_handler('omemo_initialized', lambda _: self.keys_are_ready.set_result(None))
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
        self.add_event_handler('carbon_received', self.on_carbon_received)
        self.add_event_handler('carbon_sent', self.on_carbon_sent)
        for kind in ('available', 'unavailable', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed'):
            self.add_event_handler(f'presence_{kind}', self.on_presence)
        self.add_event_handler('roster_update', self.on_roster)
        self.add_event_handler('message_error', self.on_refusal)
        # For those of rooms there is no event.
        self.register_handler(Callback('refused', StanzaPath('presence@type=error'),
                                       lambda presence: self.event('refused', presence)))
        self.add_event_handler('refused', self.on_refusal)
        self.add_event_handler('groupchat_presence', self.on_occupant)
        self.add_event_handler('groupchat_subject', self.on_subject)
        self.add_event_handler('groupchat_invite', self.on_invitation)
        self.add_event_handler('groupchat_direct_invite', self.on_direct_invitation)
        self.add_event_handler('groupchat_config_status', self.on_change)
        self.add_event_handler('moderated_message', self.on_moderation)
        self.add_event_handler('message_retract', self.on_retraction)
        self.add_event_handler('avatar_metadata_publish', self.on_avatar)
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

    async def opened(self, message):
        """The message, and whether it was encrypted."""
        plugin = self.plugin['xep_0384'] if self.has_omemo else None
        if plugin is None or not plugin.is_encrypted(message):
            return message, False
        decrypted, _ = await plugin.decrypt_message(message)
        return decrypted, True

    async def tell(self, message, carbon):
        if not message['body']:
            return
        try:
            message, is_encrypted = await self.opened(message)
        except Exception as error:  # the test sees what came of it
            print(f'cannot decrypt: {error!r}', file=sys.stderr)
            is_encrypted = False
        delayed = message.xml.find('{urn:xmpp:delay}delay') is not None
        ids = {one.get('by'): one.get('id') for one in message.xml.findall('{urn:xmpp:sid:0}stanza-id')}
        write({'happening': {'kind': 'message', 'from': message['from'].full, 'type': message['type'],
                             'body': message['body'], **({'carbon': carbon} if carbon else {}), 'delayed': delayed,
                             'ids': ids, **occupant_id(message), **({'isEncrypted': True} if is_encrypted else {})}})

    async def on_message(self, message):
        if message.xml.find('{urn:xmpp:carbons:2}sent') is None \
                and message.xml.find('{urn:xmpp:carbons:2}received') is None:
            await self.tell(message, None)

    def on_refusal(self, stanza):
        write({'happening': {'kind': 'refused', 'from': stanza['from'].full,
                             'condition': stanza['error']['condition']}})

    def on_occupant(self, presence):
        write({'happening': occupant(presence)})

    def on_subject(self, message):
        write({'happening': {'kind': 'subject', 'from': message['from'].full, 'subject': message['subject'] or ''}})

    def on_invitation(self, message):
        invitation = message['muc']['invite']
        write({'happening': {'kind': 'invited', 'room': message['from'].bare, 'by': invitation['from'].full,
                             'reason': invitation['reason'], 'isDirect': False}})

    def on_direct_invitation(self, message):
        invitation = message['groupchat_invite']
        write({'happening': {'kind': 'invited', 'room': str(invitation['jid']), 'by': message['from'].full,
                             'reason': invitation['reason'], 'isDirect': True}})

    def on_moderation(self, message):
        write({'happening': {'kind': 'moderated', 'from': message['from'].full, 'id': message['retract']['id'],
                             'reason': message['retract']['reason']}})

    def on_retraction(self, message):
        if message['retract'].xml.find('{urn:xmpp:message-moderate:1}moderated') is None:
            write({'happening': {'kind': 'retracted', 'from': message['from'].full, 'id': message['retract']['id']}})

    def on_avatar(self, message):
        info = message['pubsub_event']['items'].xml.find('.//{urn:xmpp:avatar:metadata}info')
        if info is not None:
            write({'happening': {'kind': 'avatar', 'from': message['from'].full, 'id': info.get('id'), 'by': 'pep'}})

    def on_change(self, message):
        write({'happening': {'kind': 'changed', 'from': message['from'].full,
                             'codes': sorted(message['muc']['status_codes'])}})

    async def on_carbon_received(self, message):
        await self.tell(message['carbon_received'], 'received')

    async def on_carbon_sent(self, message):
        await self.tell(message['carbon_sent'], 'sent')

    def on_presence(self, presence):
        if presence.get_plugin('muc', check=True) is not None:
            return
        kind = presence['type']
        kind = kind if kind in ('unavailable', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed') else 'available'
        write({'happening': {'kind': 'presence', 'from': presence['from'].full, 'type': kind}})

    def on_roster(self, iq):
        if iq['type'] != 'set':
            return
        for jid, item in iq['roster']['items'].items():
            write({'happening': {'kind': 'contact', 'jid': str(jid), 'subscription': item['subscription'],
                                 'name': item['name']}})

    # --- requests --------------------------------------------------------------------------------------------------

    async def do_online(self):
        self.is_wanted = True
        self.is_known = False
        self.waiting = asyncio.get_running_loop().create_future()
        self.go()
        await asyncio.wait_for(self.waiting, PATIENCE)
        if self.has_omemo:
            await asyncio.wait_for(asyncio.shield(self.keys_are_ready), PATIENCE)
        return {'jid': self.boundjid.full, 'mechanism': self.logged_in_by}

    async def do_offline(self):
        self.is_wanted = False
        self.end_session_on_disconnect = True
        # Within 2 seconds, unless told otherwise: a busy server may answer later.
        await self.disconnect(wait=PATIENCE)

    async def sent(self):
        """It is the stream's now: what only waits for its turn is lost where the connection is cut."""
        await self.waiting_queue.join()

    async def do_say(self, to, body, id=None):
        message = self.make_message(mto=to, mbody=body, mtype='chat')
        if id:
            message['id'] = id
        message.send()
        await self.sent()

    async def do_sayEncrypted(self, to, body, people):
        message = self.make_message(mto=to, mbody=body, mtype='chat' if people is None else 'groupchat')
        recipients = {JID(person) for person in people or [to]}
        encrypted, errors = await self.plugin['xep_0384'].encrypt_message(message, recipients)
        if errors:
            raise RuntimeError(str(errors))
        encrypted.send()

    async def do_retract(self, to, id):
        self.plugin['xep_0424'].send_retraction(JID(to), id, include_fallback=False)

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
        await self.plugin['xep_0280'].enable()

    async def do_setCard(self, name):
        card = self.plugin['xep_0054'].make_vcard()
        card['FN'] = name
        await self.plugin['xep_0054'].publish_vcard(card)

    async def do_card(self, of):
        answer = await self.plugin['xep_0054'].get_vcard(of, cached=False)
        return answer['vcard_temp']['FN']

    async def do_setPrivate(self, text):
        kept = Kept()
        kept['text'] = text
        await self.plugin['xep_0049'].store(kept)

    async def do_private(self):
        answer = await self.plugin['xep_0049'].retrieve('kept')
        return answer['private']['kept']['text']

    async def do_history(self, query, of):
        rsm = {name: query[name] for name in ('max', 'after', 'before') if name in query}
        start = datetime.fromisoformat(query['start']) if 'start' in query else None
        wanted = {'jid': of, 'with_jid': query.get('with'), 'start': start}
        if query.get('before') == '':
            # The last page is only to be had by its iterator.
            pages = self.plugin['xep_0313'].retrieve(**wanted, rsm={'max': query['max']}, iterator=True, reverse=True)
            answer = await anext(pages, None)
            if answer is None:
                return {'messages': [], 'isLast': True}
        else:
            answer = await self.search(query.get('text'), **wanted, rsm=rsm)
        return {'messages': [await self.archived(result) for result in answer['mam']['results']],
                'isLast': answer['mam_fin']['complete'] == 'true'}

    async def archived(self, result):
        message = result['mam_result']['forwarded']['stanza']
        try:
            message, _ = await self.opened(message)
        except Exception as error:  # it came before, and its key is used up
            print(f'cannot decrypt: {error!r}', file=sys.stderr)
        return {'id': result['mam_result']['id'], 'from': message['from'].full, 'body': message['body'],
                'isTombstone': message.get_plugin('retracted', check=True) is not None}

    async def search(self, text, **wanted):
        plugin = self.plugin['xep_0313']
        if text is None:
            return await plugin.retrieve(**wanted)
        # It has no argument for other fields of the form.
        prepare = plugin._pre_mam_retrieve

        def with_text(*args):
            iq, mask = prepare(*args)
            iq['mam'].set_custom_field('{urn:xmpp:fulltext:0}fulltext', text)
            return iq, mask

        plugin._pre_mam_retrieve = with_text
        try:
            return await plugin.retrieve(**wanted)
        finally:
            del plugin._pre_mam_retrieve

    async def do_preferences(self):
        usual, always, never = await self.plugin['xep_0441'].get_preferences()
        return {'default': usual, 'always': [str(jid) for jid in always], 'never': [str(jid) for jid in never]}

    async def do_setPreferences(self, preferences):
        await self.plugin['xep_0441'].set_preferences(preferences['default'], [JID(jid) for jid in preferences['always']],
                                                      [JID(jid) for jid in preferences['never']])

    async def do_ping(self, to):
        await self.plugin['xep_0199'].send_ping(to)

    async def do_version(self, of):
        answer = await self.plugin['xep_0092'].get_version(of)
        return answer['software_version']['name']

    async def do_features(self, of):
        answer = await self.plugin['xep_0030'].get_info(of, cached=False)
        return sorted(answer['disco_info']['features'])

    async def do_block(self, jid):
        await self.plugin['xep_0191'].block(jid)

    async def do_unblock(self, jid):
        await self.plugin['xep_0191'].unblock(jid)

    async def do_blocked(self):
        answer = await self.plugin['xep_0191'].get_blocked()
        return [str(item['jid']) for item in answer['blocklist']['items']]

    async def do_commands(self, of):
        answer = await self.plugin['xep_0050'].get_commands(of)
        return [node for _, node, _ in answer['disco_items']['items']]

    # --- publishing ------------------------------------------------------------------------------------------------

    async def do_setAvatar(self, media_type, encoded):
        data = base64.b64decode(encoded)
        plugin = self.plugin['xep_0084']
        await plugin.publish_avatar(data)
        await plugin.publish_avatar_metadata({'id': plugin.generate_id(data), 'type': media_type, 'bytes': len(data)})

    async def do_avatar(self, of):
        answer = await self.plugin['xep_0060'].get_items(JID(of), 'urn:xmpp:avatar:metadata', max_items=1)
        info = answer['pubsub']['items'].xml.find('.//{urn:xmpp:avatar:metadata}info')
        found = await self.plugin['xep_0084'].retrieve_avatar(JID(of), info.get('id'))
        return base64.b64encode(found['pubsub']['items']['item']['avatar_data']['value']).decode()

    async def kept_bookmarks(self):
        answer = await self.plugin['xep_0048'].get_bookmarks(method='xep_0223')
        return answer['pubsub']['items']['item']['bookmarks']

    async def do_bookmarks(self):
        try:
            kept = await self.kept_bookmarks()
        except XMPPError as error:
            if error.condition != 'item-not-found':
                raise
            return {}
        return {str(one['jid']): one['name'] for one in kept['conferences']}

    async def write_bookmarks(self, names):
        bookmarks = Bookmarks()
        for room, name in names.items():
            bookmarks.add_conference(room, 'me', name=name)
        await self.plugin['xep_0048'].set_bookmarks(bookmarks, method='xep_0223')

    async def do_bookmark(self, room, name):
        await self.write_bookmarks({**await self.do_bookmarks(), room: name})

    async def do_unbookmark(self, room):
        await self.write_bookmarks({jid: name for jid, name in (await self.do_bookmarks()).items() if jid != room})

    # The library's own functions use another node than XEP-0292 has.
    async def do_setCard4(self, name):
        card = VCard4()
        card['full_name'] = name
        await self.plugin['xep_0163'].publish(card, node='urn:xmpp:vcard4', id='current')

    async def do_card4(self, of):
        answer = await self.plugin['xep_0060'].get_items(JID(of), 'urn:xmpp:vcard4', max_items=1)
        return answer['pubsub']['items']['item']['vcard']['full_name']

    # --- in rooms --------------------------------------------------------------------------------------------------

    async def do_enter(self, room, nick, most, since):
        muc = self.plugin['xep_0045']
        try:
            presence, _, _, _ = await muc.join_muc_wait(
                JID(room), nick, maxstanzas=most, since=datetime.fromisoformat(since) if since else None, timeout=60)
        except XMPPError:
            # It counts itself among the occupants, and so tells of no invitation.
            muc.rooms[None].pop(room, None)
            raise
        return occupant(presence)

    async def do_leave(self, room, nick):
        left = asyncio.get_running_loop().create_future()

        def look(presence):
            if presence['from'] == f'{room}/{nick}' and presence['type'] == 'unavailable' and not left.done():
                left.set_result(None)

        with self.event_handler('groupchat_presence', look):
            self.plugin['xep_0045'].leave_muc(JID(room), nick)
            await left

    async def do_sayInRoom(self, room, body):
        self.send_message(mto=room, mbody=body, mtype='groupchat')
        await self.sent()

    async def do_rename(self, room, nick):
        refused = asyncio.get_running_loop().create_future()

        def look(presence):
            if presence['from'] == f'{room}/{nick}' and not refused.done():
                refused.set_result(presence['error']['condition'])

        with self.event_handler('refused', look):
            renamed = asyncio.ensure_future(self.plugin['xep_0045'].set_self_nick(JID(room), nick))
            await asyncio.wait([renamed, refused], return_when=asyncio.FIRST_COMPLETED)
        if refused.done():
            renamed.cancel()
            raise RuntimeError(refused.result())
        await renamed

    async def do_setSubject(self, room, subject):
        self.plugin['xep_0045'].set_subject(room, subject)

    async def do_configure(self, room, values):
        if values:
            form = await self.plugin['xep_0045'].get_room_config(room)
            form.reply()
            form['values'] = values
        else:
            form = self.plugin['xep_0004'].make_form('submit')
        await self.plugin['xep_0045'].set_room_config(room, form)

    async def do_configuration(self, room):
        form = await self.plugin['xep_0045'].get_room_config(room)
        return {name: '1' if value is True else '0' if value is False else value if isinstance(value, str) else ''
                for name, value in form['values'].items()}

    async def do_invite(self, room, jid, reason):
        self.plugin['xep_0045'].invite(JID(room), jid, reason)

    async def do_inviteDirectly(self, room, jid, reason):
        self.plugin['xep_0249'].send_invitation(JID(jid), JID(room), reason=reason)

    async def do_kick(self, room, nick, reason):
        await self.plugin['xep_0045'].set_role(room, nick, 'none', reason=reason)

    async def do_affiliate(self, room, jid, affiliation, reason):
        await self.plugin['xep_0045'].set_affiliation(room, affiliation, jid=jid, reason=reason)

    async def do_affiliated(self, room, affiliation):
        return [str(jid) for jid in await self.plugin['xep_0045'].get_affiliation_list(room, affiliation)]

    async def do_moderate(self, room, id, reason):
        await self.plugin['xep_0425'].moderate(JID(room), id, reason)

    async def do_isIn(self, room, nick):
        return (await self.plugin['xep_0410'].send_self_ping(JID(f'{room}/{nick}'))).name.startswith('JOINED')

    async def do_name(self, room):
        answer = await self.plugin['xep_0030'].get_info(room, cached=False)
        return next(iter(answer['disco_info']['identities']))[3]

    async def do_list(self, service):
        answer = await self.plugin['xep_0030'].get_items(service)
        return [jid for jid, _, _ in answer['disco_items']['items']]

    async def do_setPhoto(self, room, media_type, encoded):
        card = self.plugin['xep_0054'].make_vcard()
        card['PHOTO']['TYPE'] = media_type
        card['PHOTO']['BINVAL'] = base64.b64decode(encoded)
        await self.plugin['xep_0054'].publish_vcard(card, jid=JID(room))

    async def do_photo(self, room):
        answer = await self.plugin['xep_0054'].get_vcard(JID(room), cached=False)
        return base64.b64encode(answer['vcard_temp']['PHOTO']['BINVAL']).decode()

    async def do_destroyRoom(self, room, reason):
        await self.plugin['xep_0045'].destroy(room, reason)


MUC_USER = '{http://jabber.org/protocol/muc#user}'


def occupant(presence):
    muc = presence['muc']
    kind = 'unavailable' if presence['type'] == 'unavailable' else 'available'
    destroyed = muc.xml.find(f'{MUC_USER}destroy')
    inner = destroyed if destroyed is not None else muc.xml.find(f'{MUC_USER}item')
    reason = inner.findtext(f'{MUC_USER}reason') if inner is not None else None
    told = {'nick': muc['item_nick'], 'reason': reason, **occupant_id(presence)}
    return {'kind': 'occupant', 'from': presence['from'].full, 'type': kind, 'affiliation': muc['affiliation'],
            'role': muc['role'], 'codes': sorted(muc['status_codes']), 'isDestroyed': destroyed is not None,
            **{name: value for name, value in told.items() if value}}


def occupant_id(stanza):
    found = stanza.get_plugin('occupant-id', check=True)
    return {} if found is None else {'occupant': found.xml.get('id')}


async def answer(device, request):
    try:
        result = await getattr(device, f"do_{request['do']}")(*request['args'])
        write({'id': request['id'], 'result': result})
    except XMPPError as error:
        write({'id': request['id'], 'error': f'{error.condition} {error.text}'})
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
