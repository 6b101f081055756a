"""A component on slixmpp (XEP-0114): it accepts every subscription, echoes messages, and queries the server.
Prints events as lines of JSON; exits with its standard input."""
import asyncio
import json
import sys

from slixmpp import ComponentXMPP


def tell(**happening):
    print(json.dumps(happening), flush=True)


class Bot(ComponentXMPP):
    def __init__(self, domain, secret, port):
        super().__init__(domain, secret, '127.0.0.1', port)
        self.auto_authorize = True
        self.auto_subscribe = True
        for plugin in ('0030', '0199'):
            self.register_plugin(f'xep_{plugin}')
        self.plugin['xep_0030'].add_identity('client', 'bot', name='Echo', jid=f'echo@{domain}')
        self.add_event_handler('session_start', self.on_start)
        self.add_event_handler('message', self.on_message)
        self.add_event_handler('disconnected', lambda reason: tell(kind='disconnected'))

    async def on_start(self, _):
        info = await self.plugin['xep_0030'].get_info(jid='localhost', ifrom=self.boundjid)
        categories = [identity[0] for identity in info['disco_info']['identities']]
        tell(kind='started', categories=categories)

    def on_message(self, message):
        if message['type'] == 'error':
            tell(kind='error', condition=message['error']['condition'])
        else:
            message.reply(f"{message['body']}, you say").send()


async def main(domain, secret, port):
    bot = Bot(domain, secret, int(port))
    bot.connect()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    # Below the patience of the test.
    await bot.disconnect(wait=50)


asyncio.run(main(*sys.argv[1:]))
