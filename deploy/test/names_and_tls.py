#!/usr/bin/env python3
"""What stands between a container and the API in a test: a name server, and TLS before a plain port.

names_and_tls.py DOMAIN CERT KEY TLS_PORT PLAIN_PORT
Answers every name under DOMAIN with 127.0.0.1, on 127.0.0.1:53; prints "ready" when both ports are open.
"""

import asyncio
import ssl
import struct
import sys

QUERY_A = 1


class Names(asyncio.DatagramProtocol):
    def __init__(self, domain):
        self.domain = domain.encode()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]])
            at += 1 + data[at]
        question = data[12 : at + 5]
        (kind,) = struct.unpack_from("!H", data, at + 1)
        known = b".".join(labels).lower().endswith(self.domain)
        answer = b""
        if known and kind == QUERY_A:
            # A pointer to the name in the question, then type A, class IN, 60 s, four bytes.
            answer = struct.pack("!HHHIH4B", 0xC00C, QUERY_A, 1, 60, 4, 127, 0, 0, 1)
        flags = 0x8580 if known else 0x8583
        header = data[:2] + struct.pack("!5H", flags, 1, 1 if answer else 0, 0, 0)
        self.transport.sendto(header + question + answer, peer)


async def pipe(reader, writer):
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def main():
    domain, cert, key, tls_port, plain_port = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def forward(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", int(plain_port))
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))

    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Names(domain), local_addr=("127.0.0.1", 53))
    server = await asyncio.start_server(forward, "127.0.0.1", int(tls_port), ssl=context)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
