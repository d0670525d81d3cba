/** Each restore of src/mark/restores.ts with real keepers: etcd, PostgreSQL, a witness, a TPM. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { type KeeperKind, restores } from '../../src/mark/restores.ts'
import { type Running, Scene } from '../cli/support.ts'
import { EtcdCluster, missingEtcd } from '../keeper/etcd-cluster.ts'
import { missingPostgres, PostgresServer } from '../keeper/postgres-server.ts'
import { Swtpm, swtpmMissing } from '../keeper/swtpm.ts'
import { freePorts } from '../keeper/tcp-proxy.ts'
import { scratch } from '../state/support.ts'
import { declaredOf, drill, type Rig } from './restores.ts'

type Real = {
  readonly keeper: KeeperKind
  readonly missing: string | undefined
  readonly start: (t: TestContext, directory: string) => Promise<Rig>
}

const reals: readonly Real[] = [
  {
    keeper: 'etcd',
    missing: missingEtcd(),
    async start(t, directory) {
      const cluster = await EtcdCluster.start(directory, { size: 1 })
      t.after(() => cluster.killAll())
      const [member] = cluster.members
      return {
        text: `etcd:http://127.0.0.1:${member?.client}?wait=5`,
        async keep() {
          const snapshot = join(directory, 'snapshot')
          cluster.snapshot(snapshot)
          return () => cluster.restore(snapshot)
        },
      }
    },
  },
  {
    keeper: 'postgres',
    missing: missingPostgres(),
    async start(t, directory) {
      fs.chmodSync(directory, 0o755)
      const [port = 0] = await freePorts(1)
      const server = PostgresServer.start(join(directory, 'pg'), port)
      t.after(() => server.end())
      return {
        text: `postgres:${server.place}?wait=5`,
        async keep() {
          server.end('fast')
          const kept = join(directory, 'kept')
          fs.cpSync(server.data, kept, { recursive: true })
          server.begin()
          return async () => {
            server.end()
            for (const name of fs.readdirSync(server.data))
              fs.rmSync(join(server.data, name), { recursive: true })
            server.refill(kept)
            server.begin()
          }
        },
      }
    },
  },
  {
    keeper: 'witness',
    missing: undefined,
    async start(t) {
      const scene = new Scene()
      t.after(() => scene.end())
      await scene.home('w')
      let running: Running
      const begin = async (port: number): Promise<{ keeper: string; port: number }> => {
        running = scene.start(['witness', '--home', 'w', '--listen', `127.0.0.1:${port}`, '--json'])
        const [line] = await running.line(/^\{"type":"listening".*\}$/m)
        return JSON.parse(line)
      }
      const { keeper, port } = await begin(0)
      const places = [scene.path('w'), scene.anchors.get('w') ?? '']
      return {
        text: keeper,
        async keep() {
          await running.kill('SIGTERM')
          for (const place of places) fs.cpSync(place, `${place}.kept`, { recursive: true })
          await begin(port)
          return async () => {
            await running.kill('SIGTERM')
            for (const place of places) {
              fs.rmSync(place, { recursive: true })
              fs.cpSync(`${place}.kept`, place, { recursive: true })
            }
            await begin(port)
          }
        },
      }
    },
  },
  {
    keeper: 'tpm',
    missing: swtpmMissing,
    async start(t) {
      const tpm = await Swtpm.start(t)
      return {
        text: `tpm:127.0.0.1:${tpm.port}`,
        async keep() {
          await tpm.shutDown()
          const putBack = tpm.copy()
          await tpm.boot()
          return async () => {
            await tpm.kill()
            putBack()
            await tpm.boot()
          }
        },
      }
    },
  },
]

suite('what is put back with a real keeper is caught where it is said to be', { timeout: 600_000 }, () => {
  for (const { keeper, missing, start } of reals)
    for (const { restore, seen } of declaredOf(keeper))
      test(`${keeper}: ${restores[restore].what}: ${seen}`, {
        skip: missing !== undefined && `NOT RUN: ${missing}`,
      }, async t => {
        const directory = scratch(t)
        const rig = await start(t, directory)
        assert.equal(await drill(join(directory, 'drill'), rig, restore), seen)
      })
})
