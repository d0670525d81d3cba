import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'

export type Certificates = { readonly ca: string; readonly cert: string; readonly key: string }

/**
 * An authority of our own, and one certificate of 127.0.0.1, and of that other address, for server and client, as PEM
 * files in `directory`.
 */
export function makeCertificates(directory: string, name = 'ca', address = '127.0.0.1'): Certificates {
  const at = (file: string) => join(directory, `${name}-${file}`)
  const openssl = (...argv: string[]) => execFileSync('openssl', argv, { stdio: 'pipe', timeout: 20_000 })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  openssl('req', '-x509', ...key, '-subj', `/CN=${name}`, '-keyout', at('ca.key'), '-out', at('ca.pem'))
  openssl(
    'req',
    '-new',
    ...key.slice(0, 5),
    '-subj',
    '/CN=own',
    '-keyout',
    at('own.key'),
    '-out',
    at('own.csr'),
  )
  const names = `IP:127.0.0.1,IP:${address}`
  fs.writeFileSync(at('own.ext'), `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`)
  openssl(
    ...['x509', '-req', '-in', at('own.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial'],
    ...['-days', '2', '-extfile', at('own.ext'), '-out', at('own.pem')],
  )
  return { ca: at('ca.pem'), cert: at('own.pem'), key: at('own.key') }
}
