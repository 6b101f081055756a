"""A client on slixmpp that uploads files (XEP-0363) to the service that it discovers, and downloads them. Prints one
line of JSON with the address of each, and a hash of what was sent and received."""
import asyncio
import hashlib
import io
import json
import os
import sys

from aiohttp import ClientSession
from slixmpp import ClientXMPP


async def main(options):
    client = ClientXMPP(f"{options['account']['bare']}/{options['account']['resource']}", options['account']['password'])
    client.register_plugin('xep_0363')
    client.enable_direct_tls = True
    client.enable_starttls = False
    client.enable_plaintext = False
    client.ca_certs = options['certificate']
    started = asyncio.get_running_loop().create_future()
    client.add_event_handler('session_start', lambda _: started.done() or started.set_result(None))
    client.connect('127.0.0.1', options['port'])
    await started
    files = []
    for name, purpose, size in options['files']:
        data = os.urandom(size)
        upload = client['xep_0363'].upload_file
        url = await upload(name, size=size, input_file=io.BytesIO(data), purpose=purpose, timeout=60)
        async with ClientSession() as session, session.get(url) as response:
            received = await response.read()
            files.append({
                'url': url,
                'status': response.status,
                'type': response.headers['content-type'],
                'sent': hashlib.sha256(data).hexdigest(),
                'received': hashlib.sha256(received).hexdigest(),
            })
    limit = client['xep_0363'].max_file_size
    try:
        await client['xep_0363'].upload_file('a', size=limit + 1, input_file=io.BytesIO(b''), timeout=60)
        refused = None
    except Exception as error:
        refused = type(error).__name__
    print(json.dumps({'service': str(client['xep_0363'].upload_service), 'files': files, 'limit': limit, 'refused': refused}))
    sys.stdout.flush()
    os._exit(0)


asyncio.run(main(json.loads(sys.argv[1])))
