// `make up`, `make demo`, `make up` again and `make down` on a Debian 12 that has nothing but make and git: a debootstrapped tree in namespaces
// of its own, as root, from a clean clone.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { debootstrap } from '../support/engine.mjs';
import { freePort, removeDirectory, root, temporaryDirectory } from '../support/process.mjs';

const dir = temporaryDirectory('clean');
const machine = join(dir, 'machine');
let script;

function run(command, timeout) {
  return new Promise((resolve) => {
    const begun = Date.now();
    // The pid namespace ends with its first process, so nothing that was started outlives the test.
    const child = spawn('unshare', ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', `
      mount --rbind /dev '${machine}/dev' && mount -t proc proc '${machine}/proc' && mount -t sysfs sysfs '${machine}/sys' &&
      exec chroot '${machine}' /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        NODE_EXTRA_CA_CERTS=/etc/octroi-test-ca.crt ${script.env} bash -c "$1"`, 'sh', command], { stdio: ['ignore', 'pipe', 'pipe'], timeout });
    let output = '';
    child.stdout.on('data', (data) => { output += data; });
    child.stderr.on('data', (data) => { output += data; });
    child.once('exit', (code) => resolve({ code, output, seconds: (Date.now() - begun) / 1000 }));
  });
}

before(async () => {
  const tree = await debootstrap();
  mkdirSync(machine);
  execFileSync('cp', ['-a', `${tree}/.`, machine]);
  cpSync('/etc/resolv.conf', join(machine, 'etc/resolv.conf'), { dereference: true });
  writeFileSync(join(machine, 'etc/hosts'), '127.0.0.1 localhost\n::1 localhost\n');
  const names = ['PROXY', 'PROXY_OPS', 'QUOTED', 'QUOTED_OPS', 'PAYD', 'PAYD_OPS', 'SUBD', 'SUBD_OPS', 'ADMINSVC', 'ADMINSVC_OPS', 'ORIGIN', 'POSTGRES', 'REDIS', 'NATS', 'CHAIN'];
  const ports = [];
  for (const name of names) ports.push(`OCTROI_PORT_${name}=${await freePort()}`);
  script = { env: ports.join(' ') };
  // The clone's directory is root's alone, as a careful administrator's would be.
  execFileSync('git', ['clone', '-q', root, join(machine, 'root/octroi')]);
  execFileSync('chmod', ['700', join(machine, 'root')]);
}, { timeout: 600_000 });

after(() => removeDirectory(dir));

test('from nothing to a first paid call, and again', { timeout: 1_800_000 }, async (t) => {
  const prepared = await run('apt-get update -qq && apt-get install -y -qq --no-install-recommends make git ca-certificates', 600_000);
  assert.equal(prepared.code, 0, prepared.output.slice(-3000));
  // One shell for all steps: the stack lives as long as its namespace.
  const story = await run(`cd /root/octroi && set -e
    begin() { start=$(date +%s); }
    finish() { echo "$1 took $(($(date +%s) - start)) s"; }
    begin; make up; finish first-up
    make demo
    grep '^curl' README.md | sed "s/:8080/:$OCTROI_PORT_PROXY/" | while read -r line; do bash -c "$line"; echo; done
    make down
    begin; make up; finish second-up
    make up
    make demo
    make down`, 1_500_000);
  t.diagnostic(story.output.split('\n').filter((line) => /^(first|second)-up took/.test(line)).join(', '));
  assert.equal(story.code, 0, story.output.slice(-6000));
  // The README's commands answered what it says they do.
  assert.match(story.output, /^HTTP\/1\.1 402 /m);
  assert.match(story.output, /^\{"chain_id":\d+.*"tiers":/m);
  assert.match(story.output, /^\{"id":"0x[0-9a-f]{64}","kind":"new"/m);
  assert.equal(story.output.match(/served (\d+) = billed \1/g)?.length, 2, story.output.slice(-3000));
});
