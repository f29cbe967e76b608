// `docker compose up` of the whole stack in a real engine, with no edits: healthy, a purchase through the gate, two proxies and two subds. Then the
// same with compose/real-chain.yaml, beside a chain that is not compose's.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { deployForDevelopment, makeSecrets } from '../../compose/init.mjs';
import { Engine } from '../support/engine.mjs';
import { canConnect, freePort, root, temporaryDirectory, waitUntil } from '../support/process.mjs';

const engine = new Engine({ dir: temporaryDirectory('engine') });
let ports;
const compose = (...args) => engine.run(['compose', '-p', 'octroitest', ...args], { env: ports });

before(async () => {
  ports = { OCTROI_PORT: String(await freePort()), OCTROI_CHAIN_PORT: String(await freePort()), OCTROI_ADMIN_PORT: String(await freePort()) };
  ports.OCTROI_PUBLIC_URL = `http://127.0.0.1:${ports.OCTROI_PORT}`;
  await engine.start();
}, { timeout: 900_000 });

after(async () => {
  await engine.run(['rm', '-f', 'octroitest-elsewhere']).catch(() => {});
  await compose('down', '-v', '--timeout', '5').catch(() => {});
  await engine.stop();
}, { timeout: 120_000 });

const demo = () => new Promise((resolve) => {
  const child = spawn('make', ['-s', 'demo'], {
    cwd: root,
    env: { ...process.env, OCTROI_GATEWAY: `http://127.0.0.1:${ports.OCTROI_PORT}`, OCTROI_RPC_URL: `http://127.0.0.1:${ports.OCTROI_CHAIN_PORT}` },
  });
  let output = '';
  child.stdout.on('data', (data) => { output += data; });
  child.stderr.on('data', (data) => { output += data; });
  child.once('exit', (code) => resolve({ code, output }));
});

async function healthy() {
  const text = await compose('ps', '--all', '--format', 'json');
  return text.trim().split('\n').map((line) => JSON.parse(line)).map(({ Service, State, Health, ExitCode }) => ({ Service, State, Health, ExitCode }));
}

async function logs() {
  return (await compose('logs', '--tail', '30', '--no-color').catch((error) => error.message)).slice(-8000);
}

test('docker compose up brings everything up healthy, and a purchase passes through the gate', { timeout: 1_500_000 }, async () => {
  await compose('up', '--build', '--detach', '--wait', '--wait-timeout', '240').catch(async (error) => {
    throw new Error(`${error.message}\n${await logs()}`);
  });
  for (const { Service, State, Health, ExitCode } of await healthy()) {
    if (Service === 'init') assert.equal(ExitCode, 0);
    else assert.deepEqual([Service, State, Health], [Service, 'running', 'healthy']);
  }
  const { code, output } = await demo();
  assert.equal(code, 0, `${output}\n${await logs()}`);
  assert.match(output, /served (\d+) = billed \1/);
});

test('the images hold one program, run as nobody, and cannot write', async () => {
  for (const service of ['proxy', 'subd', 'quoted', 'payd', 'adminsvc']) {
    const [image] = JSON.parse(engine.docker(['image', 'inspect', `octroi-${service}`]));
    assert.equal(image.Config.User, '10001:10001');
    assert.ok(image.Config.Healthcheck.Test.includes('--health'));
    assert.ok(image.Size < 60e6, `${service}: ${image.Size} bytes`);
    assert.doesNotMatch(JSON.stringify(image.Config.Env ?? []), /KEY|PASSWORD|SECRET/i);
  }
});

test('--scale proxy=2 --scale subd=2 serves and bills through the same gate', { timeout: 600_000 }, async () => {
  await compose('up', '--detach', '--wait', '--wait-timeout', '240', '--scale', 'proxy=2', '--scale', 'subd=2').catch(async (error) => {
    throw new Error(`${error.message}\n${await logs()}`);
  });
  const count = (await healthy()).filter(({ Service, Health }) => (Service === 'proxy' || Service === 'subd') && Health === 'healthy').length;
  assert.equal(count, 4);
  const { code, output } = await demo();
  assert.equal(code, 0, `${output}\n${await logs()}`);
  assert.match(output, /served (\d+) = billed \1/);
});

// Its node stands in for a chain elsewhere: it runs before the stack, outside of compose, and the deployer comes from this machine.
async function chainElsewhere(secrets) {
  const anvil = 'node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil';
  await engine.run(['run', '--detach', '--name', 'octroitest-elsewhere', '--network', 'octroitest_default', '--network-alias', 'elsewhere',
    '--publish', `127.0.0.1:${ports.OCTROI_CHAIN_PORT}:8545`, 'octroi-devtools',
    anvil, '--host', '0.0.0.0', '--chain-id', '4441', '--block-time', '1', '--mixed-mining']);
  await waitUntil('the chain', () => canConnect(ports.OCTROI_CHAIN_PORT));
  await deployForDevelopment({ rpcUrl: `http://127.0.0.1:${ports.OCTROI_CHAIN_PORT}`, ...makeSecrets(secrets), directory: secrets });
  execFileSync('chown', ['-R', '10001:10001', secrets]);
}

test('compose/real-chain.yaml: a wrong chain starts nothing of ours; on the right one a purchase passes', { timeout: 900_000 }, async () => {
  await compose('down', '-v', '--timeout', '5');
  const secrets = temporaryDirectory('secrets');
  Object.assign(ports, { OCTROI_RPC_URL: 'http://elsewhere:8545', OCTROI_SECRETS_DIR: secrets });
  const real = (...args) => compose('-f', 'compose.yaml', '-f', join('compose', 'real-chain.yaml'), ...args);
  await real('create');
  await chainElsewhere(secrets);

  ports.OCTROI_CHAIN_ID = '4442';
  await assert.rejects(real('up', '--detach', '--wait', '--wait-timeout', '240'), /init.*exit|didn't complete/i);
  assert.match(await real('logs', '--no-color', 'init'), /4441.*4442|4442.*4441/);
  for (const { Service, State } of await healthy()) {
    if (['proxy', 'payd', 'quoted', 'subd', 'gate'].includes(Service)) assert.equal(State, 'created', Service);
  }

  ports.OCTROI_CHAIN_ID = '4441';
  await real('up', '--detach', '--wait', '--wait-timeout', '240').catch(async (error) => {
    throw new Error(`${error.message}\n${await logs()}`);
  });
  assert.ok((await healthy()).every(({ Service }) => Service !== 'chain'));
  const { code, output } = await demo();
  assert.equal(code, 0, `${output}\n${await logs()}`);
  assert.match(output, /served (\d+) = billed \1/);
});
