import { generateKeyPairSync, sign } from 'node:crypto'

/** A self-signed leaf with an ML-DSA-87 key (RFC 9881), for the peers of the channel's benches: Node makes no certificates. */
export type Certificate = { readonly cert: string; readonly key: string }

export function makeCertificate(): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-87')
  const algorithm = sequence(objectId('608648016503040313'))
  const name = sequence(der(0x31, sequence(objectId('550403'), der(0x0c, Buffer.from('localhost')))))
  const validity = sequence(utc('260101000000Z'), utc('360101000000Z'))
  const version = der(0xa0, der(0x02, Uint8Array.of(2)))
  const serial = der(0x02, Uint8Array.of(1))
  const key = publicKey.export({ type: 'spki', format: 'der' })
  const signed = sequence(version, serial, algorithm, name, validity, name, key)
  const signature = der(0x03, Uint8Array.of(0), sign(null, signed, privateKey))
  const lines =
    Buffer.from(sequence(signed, algorithm, signature))
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return {
    cert: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...parts)
}

function objectId(digits: string): Uint8Array {
  return der(0x06, Buffer.from(digits, 'hex'))
}

function utc(time: string): Uint8Array {
  return der(0x17, Buffer.from(time))
}

/** Tag, length, content (ITU-T X.690 section 8.1). */
function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  const { length } = content
  const long = [length >> 16, (length >> 8) & 255, length & 255].slice(
    length > 0xffff ? 0 : length > 0xff ? 1 : 2,
  )
  const head = length < 0x80 ? [length] : [0x80 | long.length, ...long]
  return Buffer.concat([Uint8Array.of(tag, ...head), content])
}
