"""A network of one contact for slidge, the gateway framework. It enrols the account in WAXWING_USER. Its contact adds itself to the
contact list; on a message it says something as the account and as itself, and reports a publication in the account's PEP. All of
this needs the privileges of XEP-0356."""
import os

from slidge import BaseGateway, BaseSession
from slidge.command import FormField
from slidge.contact import LegacyContact
from slidge.db import GatewayUser
from slixmpp import JID, Iq
from slixmpp.plugins.xep_0356.privilege import PrivilegedIqError
from slixmpp.xmlstream import ET

USER = os.environ['WAXWING_USER']
NODE = 'test:bridge'


class Gateway(BaseGateway):
    COMPONENT_NAME = 'Bridge'
    COMPONENT_TYPE = 'bridge'
    REGISTRATION_FIELDS = [FormField(var='username', label='User name', required=True)]

    def __init__(self):
        super().__init__()
        self.add_event_handler('privileges_advertised', self.enrol, disposable=True)

    async def validate(self, user_jid, registration_form):
        return None

    async def enrol(self, *_):
        with self.store.session() as orm:
            orm.add(GatewayUser(jid=JID(USER), legacy_module_data={}))
            orm.commit()
        self.event('user_register', Iq(sfrom=JID(USER), sto=self.boundjid, stype='set'))


class Contact(LegacyContact):
    async def available_emojis(self, legacy_msg_id=None):
        return None

    async def create_thread(self, xmpp_id):
        return xmpp_id

    async def on_sticker(self, sticker):
        return None

    async def on_message(self, message):
        self.send_text('I said this elsewhere', carbon=True)
        self.send_text(f"published: {await self.publish()}, again: {await self.create()}")
        return None

    async def publish(self):
        iq = self.iq()
        iq['pubsub']['publish']['node'] = NODE
        iq['pubsub']['publish']['item']['id'] = 'current'
        iq['pubsub']['publish']['item']['payload'] = ET.Element('{test:bridge}bridge')
        return (await self.xmpp.plugin['xep_0356'].send_privileged_iq(iq))['type']

    async def create(self):
        """The node exists: the error is found inside the answer."""
        iq = self.iq()
        iq['pubsub']['create']['node'] = NODE
        try:
            return (await self.xmpp.plugin['xep_0356'].send_privileged_iq(iq))['type']
        except PrivilegedIqError as error:
            nested = error.nested_error()
            return 'no error inside' if nested is None else nested.condition

    def iq(self):
        return Iq(sto=USER, sfrom=USER, stype='set')


class Session(BaseSession):
    async def login(self):
        contact = await self.contacts.by_legacy_id('juliet')
        contact.is_friend = True
        contact.name = 'Juliet'
        await contact.add_to_roster()
        contact.online('here')
        return 'in'
