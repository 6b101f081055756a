"""Two clients on slixmpp, one of which sends bytes to the other through the proxy that it discovers (XEP-0065),
and receives some. Prints one line of JSON with the bytes sent and received."""
import asyncio
import hashlib
import json
import os
import sys

from slixmpp import ClientXMPP


class Client(ClientXMPP):
    def __init__(self, account, options):
        super().__init__(f"{account['bare']}/{account['resource']}", account['password'])
        for plugin in ('0030', '0065'):
            self.register_plugin(f'xep_{plugin}')
        self['xep_0065'].auto_accept = True
        self.enable_direct_tls = True
        self.enable_starttls = False
        self.enable_plaintext = False
        self.ca_certs = options['certificate']
        self.received = bytearray()
        self.is_over = asyncio.get_running_loop().create_future()
        self.stream = asyncio.get_running_loop().create_future()
        self.add_event_handler('socks5_stream', self.on_stream)
        self.add_event_handler('socks5_data', lambda data: self.received.extend(data))
        self.add_event_handler('socks5_closed', lambda _: self.is_over.done() or self.is_over.set_result(None))

    def on_stream(self, stream):
        self.stream.set_result(stream)

    async def online(self, port):
        started = asyncio.get_running_loop().create_future()
        self.add_event_handler('session_start', lambda _: started.done() or started.set_result(None))
        self.connect('127.0.0.1', port)
        await started


def digest(data):
    return hashlib.sha256(data).hexdigest()


async def main(options):
    sender, taker = (Client(options[name], options) for name in ('sender', 'taker'))
    await sender.online(options['port'])
    await taker.online(options['port'])
    data = os.urandom(options['size'])
    stream = await sender['xep_0065'].handshake(taker.boundjid, timeout=60)
    stream.transport.write(data)
    other = await taker.stream
    while len(taker.received) < len(data):
        await asyncio.sleep(0.01)
    other.transport.write(data[:1000])
    other.transport.close()
    await sender.is_over
    proxies = [str(jid) for jid in sender['xep_0065']._proxies]
    print(json.dumps({
        'proxies': proxies,
        'sent': digest(data),
        'taken': digest(bytes(taker.received)),
        'answered': digest(data[:1000]),
        'heard': digest(bytes(sender.received)),
    }))
    sys.stdout.flush()
    os._exit(0)


asyncio.run(main(json.loads(sys.argv[1])))
