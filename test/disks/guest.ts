/**
 * A machine of its own: QEMU without hardware acceleration, the Debian cloud kernel, this program on a read-only disk,
 * home and anchor on a disk each, and a network on which it finds this machine's loopback. Its second serial line
 * carries the standard streams of what runs in it. The third is for the exit status of that, and nothing else can write
 * to it: one line, `status N`.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { run } from './place.ts'

/** Where a kernel package is laid out: the root, or what `dpkg-deb -x` made of it. */
const kernelRoot = process.env.GUEST_KERNEL ?? '/'
const source = join(import.meta.dirname, '../..')
/** In the order in which they need each other. */
const modules = [
  'drivers/virtio/virtio_ring',
  'drivers/virtio/virtio',
  'drivers/virtio/virtio_pci_legacy_dev',
  'drivers/virtio/virtio_pci_modern_dev',
  'drivers/virtio/virtio_pci',
  'drivers/block/virtio_blk',
  'net/core/failover',
  'drivers/net/net_failover',
  'drivers/net/virtio_net',
] as const

/** Where a guest finds what listens on the loopback of this machine: QEMU's own network has it there. */
export const outsideAddress = '10.0.2.2'

type Kernel = { readonly image: string; readonly modules: string }

/** The newest cloud kernel there is. */
export function kernel(): Kernel | undefined {
  const boot = join(kernelRoot, 'boot')
  const names = fs.existsSync(boot) ? fs.readdirSync(boot).sort() : []
  const name = names.findLast(name => /^vmlinuz-.*-cloud-amd64$/.test(name))
  if (name === undefined) return undefined
  const version = name.slice('vmlinuz-'.length)
  return { image: join(boot, name), modules: join(kernelRoot, 'lib/modules', version, 'kernel') }
}

export type Machine = { readonly kernel: Kernel; readonly initrd: string; readonly system: string }

const first = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for name in ${modules.map(name => basename(name)).join(' ')}; do /bin/busybox insmod /$name.ko; done
/bin/busybox mount -o ro -t ext4 /dev/vda /system
/bin/busybox mount --move /dev /system/dev
exec /bin/busybox switch_root /system /init
`

/** What is to be run stands on the kernel's command line; its status is told at the end. */
const second = `#!/bin/busybox sh
export PATH=/app/node_modules/node/bin:/bin HOME=/tmp TMPDIR=/home-disk
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t ext4 /dev/vdb /home-disk
mount -t ext4 /dev/vdc /anchor-disk
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
words=$(sed 's/.* -- //' /proc/cmdline)
echo "guest: $words"
$words </dev/ttyS1 >/dev/ttyS1 2>/dev/ttyS0
status=$?
echo "guest: ended with $status"
umount /home-disk /anchor-disk
echo "status $status" >/dev/ttyS2
poweroff -f
`

/** Lays out the system disk, with those files in its `/keeper`, and the first ram disk. */
export async function buildMachine(directory: string, keeperFiles: readonly string[]): Promise<Machine> {
  const found = kernel()
  assert.ok(found !== undefined)
  const root = join(directory, 'system')
  for (const name of [
    'bin',
    'dev',
    'proc',
    'sys',
    'tmp',
    'home-disk',
    'anchor-disk',
    'keeper',
    'app/node_modules/node/bin',
  ])
    fs.mkdirSync(join(root, name), { recursive: true })
  fs.copyFileSync('/bin/busybox', join(root, 'bin/busybox'))
  for (const name of ['sh', 'mount', 'umount', 'stty', 'ip', 'sed', 'echo', 'poweroff'])
    fs.symlinkSync('busybox', join(root, 'bin', name))
  const libraries = (await run('ldd', [process.execPath])).match(/\/\S+/g) ?? []
  for (const library of libraries) await run('cp', ['--parents', '-L', library, root])
  fs.copyFileSync(process.execPath, join(root, 'app/node_modules/node/bin/node'))
  // As JavaScript: to strip types takes a guest longer than all the rest.
  const compiler = join(source, 'node_modules/.bin/tsc')
  await run(compiler, ['-p', source, '--noEmit', 'false', '--outDir', join(root, 'app')])
  fs.symlinkSync('src', join(root, 'app/dist'))
  for (const name of ['bin', 'package.json', 'node_modules/commander'])
    fs.cpSync(join(source, name), join(root, 'app', name), { recursive: true, dereference: true })
  for (const file of keeperFiles) fs.copyFileSync(file, join(root, 'keeper', basename(file)))
  writeProgram(join(root, 'init'), second)
  const system = join(directory, 'system.img')
  fs.writeFileSync(system, '')
  fs.truncateSync(system, 400 * 1024 * 1024)
  await run('mkfs.ext4', ['-q', '-F', '-d', root, system])
  fs.rmSync(root, { recursive: true })

  const ram = join(directory, 'ram')
  for (const name of ['bin', 'dev', 'system']) fs.mkdirSync(join(ram, name), { recursive: true })
  fs.copyFileSync('/bin/busybox', join(ram, 'bin/busybox'))
  for (const name of modules)
    fs.copyFileSync(join(found.modules, `${name}.ko`), join(ram, `${basename(name)}.ko`))
  writeProgram(join(ram, 'init'), first)
  const initrd = join(directory, 'initrd')
  await run('sh', ['-c', 'cd "$1" && find . | busybox cpio -o -H newc > "$2"', 'sh', ram, initrd])
  return { kernel: found, initrd, system }
}

function writeProgram(path: string, text: string): void {
  fs.writeFileSync(path, text, { mode: 0o755 })
}

export type Disks = { readonly home: string; readonly anchor: string }

/** Empty disks with a file system each, in QEMU's own format: they can be kept within a snapshot of the memory. */
export async function freshDisks(directory: string): Promise<Disks> {
  fs.mkdirSync(directory)
  const made: string[] = []
  for (const name of ['home', 'anchor']) {
    const [raw, path] = [join(directory, `${name}.raw`), join(directory, `${name}.qcow2`)]
    fs.writeFileSync(raw, '')
    fs.truncateSync(raw, 48 * 1024 * 1024)
    await run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0', raw])
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path])
    fs.rmSync(raw)
    made.push(path)
  }
  const [home = '', anchor = ''] = made
  return { home, anchor }
}

/** A running guest. */
export class Guest {
  readonly lines: AsyncIterator<string>
  /** The status that the run left, or undefined if the machine ended otherwise. */
  readonly ended: Promise<number | undefined>
  readonly #qemu: ChildProcess
  readonly #streams: Socket
  readonly #monitor: Socket
  console = ''

  private constructor(
    qemu: ChildProcess,
    streams: Socket,
    monitor: Socket,
    ended: Promise<number | undefined>,
  ) {
    this.#qemu = qemu
    this.#streams = streams
    this.#monitor = monitor
    this.ended = ended
    this.lines = createInterface({ input: streams })[Symbol.asyncIterator]()
    qemu.stdout?.on('data', chunk => (this.console += String(chunk)))
    qemu.stderr?.on('data', chunk => (this.console += String(chunk)))
  }

  /** Boots and runs the words; standard output of the run is `lines`. */
  static async boot(
    machine: Machine,
    directory: string,
    disks: Disks,
    words: readonly string[],
  ): Promise<Guest> {
    const [streams, monitor] = [
      await awaited(join(directory, 'streams')),
      await awaited(join(directory, 'monitor')),
    ]
    const status = join(directory, 'status')
    fs.rmSync(status, { force: true })
    const drive = (file: string, more: string) => ['-drive', `if=virtio,file=${file},${more}`]
    const qemu = spawn('qemu-system-x86_64', [
      ...[
        '-accel',
        'tcg',
        '-m',
        '512',
        '-smp',
        '1',
        '-display',
        'none',
        '-no-reboot',
        '-nodefaults',
        '-vga',
        'none',
      ],
      ...['-kernel', machine.kernel.image, '-initrd', machine.initrd],
      ...[
        '-append',
        `console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on -- ${words.join(' ')}`,
      ],
      ...drive(machine.system, 'format=raw,readonly=on'),
      ...drive(disks.home, 'format=qcow2,cache=writeback'),
      ...drive(disks.anchor, 'format=qcow2,cache=writeback'),
      ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
      ...[
        '-serial',
        'stdio',
        '-chardev',
        `socket,id=streams,path=${streams.path}`,
        '-serial',
        'chardev:streams',
      ],
      ...['-chardev', `socket,id=monitor,path=${monitor.path}`, '-mon', 'chardev=monitor,mode=readline'],
      ...['-serial', `file:${status}`],
    ])
    const ended = new Promise<number | undefined>(resolve =>
      qemu.on('close', () => {
        for (const { server } of [streams, monitor]) server.close()
        const told = /^status (\d+)\n$/.exec(fs.readFileSync(status, 'latin1'))
        resolve(told === null ? undefined : Number(told[1]))
      }),
    )
    return new Guest(qemu, await streams.peer, await monitor.peer, ended)
  }

  async line(): Promise<string> {
    const next = await this.lines.next()
    if (next.done) throw new Error(`the guest says nothing more: ${this.console.slice(-2000)}`)
    return next.value
  }

  say(text: string): void {
    this.#streams.write(`${text}\n`)
  }

  /** A command of QEMU's monitor, done when it asks for the next. */
  async command(text: string): Promise<string> {
    let answer = ''
    await new Promise<void>(resolve => {
      const hear = (chunk: Buffer) => {
        answer += String(chunk)
        // The first prompt may be that of the greeting: the echo of the command comes between.
        if (!/\n\(qemu\) $/.test(answer) || !answer.includes(text.slice(-8))) return
        this.#monitor.off('data', hear)
        resolve()
      }
      this.#monitor.on('data', hear)
      this.#monitor.write(`${text}\n`)
    })
    return answer
  }

  /** The power is cut. */
  async cut(): Promise<void> {
    this.#qemu.kill('SIGKILL')
    await this.ended
  }
}

async function awaited(
  path: string,
): Promise<{ readonly path: string; readonly server: Server; readonly peer: Promise<Socket> }> {
  fs.rmSync(path, { force: true })
  const server = createServer()
  const peer = new Promise<Socket>(resolve => server.once('connection', resolve))
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject)
    server.listen(path, resolve)
  })
  return { path, server, peer }
}

/** Why there can be no guest here. */
export function lackingKernel(): string | false {
  if (spawnSync('sh', ['-c', 'busybox cpio --help']).status !== 0) return 'NOT RUN, busybox has no cpio'
  if (kernel() === undefined)
    return 'NOT RUN, no kernel of linux-image-cloud-amd64 (GUEST_KERNEL names where it lies)'
  return false
}
