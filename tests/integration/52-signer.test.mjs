// The operator's key in its own process: what other wallets make of the same secrets and transactions, what it refuses, and how it is locked up.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { encodeFunctionData, keccak256, parseAbi, parseTransaction, recoverTransactionAddress } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';

import { removeDirectory, root as top, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { binary } from '../support/service.mjs';
import { Signer, cast } from '../support/signer.mjs';

const words = 'test test test test test test test test test test test junk';
const path = "m/44'/60'/0'/0/0";
const sanitized = () => /asan|tsan/.test(binary(''));
const root = process.getuid() === 0;
const token = '0x00000000000000000000000000000000000000aa';
const service = `0x${'5e'.repeat(32)}`;
const abi = parseAbi([
  'function refund(address subscriber, bytes32 serviceId, address token, uint16 seq, uint256 amount)',
  'function refundTransfer(bytes32 id, address token, address to, uint256 amount)',
  'function setRevoked(address subscriber, bytes32 serviceId, bool revoked)',
  'function withdraw(address token)',
  'function withdrawFees(address token)',
  'function transfer(address to, uint256 amount)',
  'function grantRole(bytes32 role, address account)',
  'function upgradeToAndCall(address implementation, bytes data)',
]);
const call = (functionName, ...args) => encodeFunctionData({ abi, functionName, args });
const calls = {
  refund: call('refund', token, service, token, 65535, 2n ** 256n - 1n),
  refundTransfer: call('refundTransfer', service, token, token, 0n),
  setRevoked: call('setRevoked', token, service, true),
  withdraw: call('withdraw', token),
  withdrawFees: call('withdrawFees', token),
};

let dir;
const running = [];
const file = (name, text) => {
  writeFileSync(join(dir, name), text, { mode: 0o600 });
  return join(dir, name);
};
const start = (options) => {
  const signer = new Signer(options);
  running.push(signer);
  return signer.start();
};
const withWords = (more = {}) => start({ mnemonic_file: file('words', `${words}\n`), path, ...more });

before(() => (dir = temporaryDirectory('signer')));
after(async () => {
  for (const signer of running) await signer.stop();
  removeDirectory(dir);
});

describe('keys', () => {
  test('a keystore that cast makes', async () => {
    const password = 'pass "word" ü ';
    cast('wallet', 'new', dir, 'made', '--unsafe-password', password);
    const secret = cast('wallet', 'decrypt-keystore', '-k', dir, 'made', '--unsafe-password', password).match(/0x[0-9a-f]{64}/)[0];
    const signer = await start({ keystore: join(dir, 'made'), password_file: file('password', `${password}\n`) });
    assert.equal(signer.address, cast('wallet', 'address', secret));
  });

  test('a keystore that cast imports, and its own key in it', async () => {
    const key = `0x${'00'.repeat(31)}01`;
    cast('wallet', 'import', 'imported', '-k', dir, '--private-key', key, '--unsafe-password', 'x');
    const signer = await start({ keystore: join(dir, 'imported'), password_file: file('x', 'x') });
    assert.equal(signer.address, '0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf');
  });

  for (const [at, passphrase] of [[path], ["m/44'/60'/0'/0/7"], ["m/44'/60'/3'/0/0"], ["m/44'/60'/0'/1"], ['m/0/2147483647'], [path, 'a Passphrase 1!']]) {
    test(`the mnemonic's key at ${at}${passphrase ? ' with a passphrase' : ''}`, async () => {
      const signer = await withWords({ path: at, ...(passphrase ? { password_file: file('passphrase', passphrase) } : {}) });
      const expected = cast('wallet', 'address', '--mnemonic', words, '--mnemonic-derivation-path', at, ...(passphrase ? ['--mnemonic-passphrase', passphrase] : []));
      assert.equal(signer.address, expected);
    });
  }

  test('a wrong password, a file that asks for too much, one that is missing: said, without a secret', async () => {
    cast('wallet', 'import', 'other', '-k', dir, '--private-key', `0x${'11'.repeat(32)}`, '--unsafe-password', 'right');
    const keystore = join(dir, 'other');
    await assert.rejects(start({ keystore, password_file: file('wrong', 'wr0ng-secret') }), (error) => /password is wrong/.test(error.message) && !/wr0ng/.test(error.message));
    const bomb = JSON.parse(readFileSync(keystore, 'utf8'));
    bomb.crypto.kdfparams.n = 2 ** 24;
    await assert.rejects(start({ keystore: file('bomb', JSON.stringify(bomb)), password_file: file('right', 'right') }), /more than 512 MiB of memory/);
    await assert.rejects(start({ keystore: join(dir, 'none'), password_file: join(dir, 'right') }), /No such file/);
    await assert.rejects(start({ mnemonic_file: file('bad', `${words.replace('junk', 'zebra')}`), path }), (error) => /checksum/.test(error.message) && !/zebra/.test(error.message));
  });
});

describe('transactions', () => {
  let signer;
  const account = mnemonicToAccount(words);
  before(async () => (signer = await withWords({ max_fee: String(2n ** 64n - 1n), max_priority_fee: String(2n ** 63n), budget: String(10n ** 18n) })));

  for (const [name, data] of Object.entries(calls)) {
    for (const nonce of [0n, 1n, 127n, 128n, 255n, 256n, 2n ** 32n]) {
      test(`${name} with nonce ${nonce} as viem signs it`, async () => {
        const { verdict, raw, hash, error } = await signer.sign({ data, nonce: String(nonce) });
        assert.equal(verdict, 'signed', error);
        const expected = await account.signTransaction({ type: 'eip1559', chainId: 4441, nonce, maxPriorityFeePerGas: 1000000000n, maxFeePerGas: 30000000000n, gas: 200000n, to: signer.options.contract, value: 0n, data });
        assert.equal(raw, expected);
        assert.equal(hash, keccak256(raw));
      });
    }
  }

  test('the largest and smallest fees; viem reads the sender and each field', async () => {
    for (const [priority, max, gas] of [[0n, 0n, 1n], [127n, 127n, 127n], [128n, 255n, 128n], [2n ** 63n, 2n ** 64n - 1n, 500000n]]) {
      const { raw, error } = await signer.sign({ data: calls.withdraw, priority_fee: String(priority), max_fee: String(max), gas: String(gas) });
      assert.ok(raw.length > 2, error);
      assert.equal(await recoverTransactionAddress({ serializedTransaction: raw }), account.address);
      const tx = parseTransaction(raw);
      assert.deepEqual([tx.chainId, tx.maxPriorityFeePerGas ?? 0n, tx.maxFeePerGas ?? 0n, tx.gas, tx.data, tx.to], [4441, priority, max, gas, calls.withdraw, signer.options.contract]);
    }
  });

  test('as cast makes it', async () => {
    const { raw } = await signer.sign({ data: calls.withdraw, nonce: '128' });
    const key = cast('wallet', 'private-key', '--mnemonic', words, '--mnemonic-derivation-path', path).match(/0x[0-9a-f]{64}/)[0];
    assert.equal(raw, cast('mktx', '--rpc-url', 'http://127.0.0.1:1', '--private-key', key, '--chain', '4441', '--nonce', '128', '--gas-limit', '200000', '--gas-price', '30000000000', '--priority-gas-price', '1000000000', signer.options.contract, 'withdraw(address)', token));
  });
});

describe('policy', () => {
  let signer;
  before(async () => (signer = await withWords()));

  test("what it signs is what the contract has, and nothing else of the contract's", async () => {
    const { methodIdentifiers } = JSON.parse(readFileSync(join(top, 'contracts/out/Octroi.sol/Octroi.json'), 'utf8'));
    const signs = new Set();
    for (const [signature, selector] of Object.entries(methodIdentifiers)) {
      const types = signature.slice(signature.indexOf('(') + 1, -1);
      const data = `0x${selector}${'00'.repeat(32 * (types ? types.split(',').length : 0))}`;
      if ((await signer.sign({ data })).verdict === 'signed') signs.add(signature.split('(')[0]);
    }
    assert.deepEqual([...signs].sort(), Object.keys(calls).sort());
  });

  const padded = (name, at, byte = '01') => calls[name].slice(0, 2 + 2 * at) + byte + calls[name].slice(4 + 2 * at);
  const forbidden = {
    'another chain': { chain_id: '1' },
    'another contract': { to: token },
    ether: { value: '1' },
    'too much gas': { gas: '500001' },
    'no gas': { gas: '0' },
    'too high a fee': { max_fee: '200000000001' },
    'too high a priority fee': { priority_fee: '2000000001' },
    'a priority fee above the fee': { max_fee: '999999999' },
    'a transfer': { data: call('transfer', token, 1n) },
    'a role': { data: call('grantRole', service, token) },
    'an upgrade': { data: call('upgradeToAndCall', token, '0x') },
    'no data': { data: '0x' },
    'a byte too many': { data: `${calls.withdraw}00` },
    'a byte too few': { data: calls.withdraw.slice(0, -2) },
    'a padded address': { data: padded('withdraw', 4) },
    'a padded bool': { data: padded('setRevoked', 4 + 64) },
    'a bool of 2': { data: padded('setRevoked', 4 + 95, '02') },
    'a padded uint16': { data: padded('refund', 4 + 96 + 29) },
    'more data than any call has': { data: `${calls.refund}${'00'.repeat(32)}` },
  };
  for (const [name, members] of Object.entries(forbidden)) {
    test(`${name} is refused, and nothing is signed`, async () => {
      const { pid } = signer;
      const { verdict, raw, error } = await signer.sign({ data: calls.withdraw, ...members });
      assert.equal(verdict, 'refused');
      assert.equal(raw, '0x');
      assert.match(error, /policy/);
      assert.equal((await signer.sign({ data: calls.withdraw })).verdict, 'signed');
      assert.equal(signer.pid, pid);
    });
  }
});

describe('confinement', () => {
  let signer, pid;
  const proc = (name) => `/proc/${pid}/${name}`;
  const status = () => Object.fromEntries(readFileSync(proc('status'), 'utf8').split('\n').map((line) => line.split(/:\s+/)));
  before(async () => {
    signer = await withWords();
    pid = signer.pid;
  });

  test('a filter, no new privileges, no capabilities, nobody', () => {
    const now = status();
    assert.equal(now.Name, 'payd-signer');
    assert.equal(now.Seccomp, '2');
    assert.equal(now.NoNewPrivs, '1');
    const user = root ? '65534' : String(process.getuid());
    assert.deepEqual(now.Uid.split('\t'), [user, user, user, user]);
    if (!root) return;
    assert.deepEqual(now.Gid.split('\t'), ['65534', '65534', '65534', '65534']);
    assert.equal((now.Groups ?? '').trim(), '');
    for (const set of ['CapPrm', 'CapEff', 'CapInh', 'CapAmb']) assert.match(now[set], /^0+$/);
  });

  // Sanitizers have threads of their own, and let mlock do nothing.
  test('one thread; the key is locked into memory', { skip: sanitized() && 'of other builds' }, () => {
    assert.equal(status().Threads, '1');
    assert.ok(Number.parseInt(status().VmLck, 10) > 0, status().VmLck);
  });

  test('no descriptor but its socket', { skip: !root && 'only root may look' }, () => {
    assert.deepEqual(readdirSync(proc('fd')).sort(), sanitized() ? ['0', '1', '2'] : ['0']); // a report of a sanitizer needs 2
    assert.match(readlinkSync(proc('fd/0')), /^socket:/);
    if (sanitized()) assert.equal(readlinkSync(proc('fd/1')), '/dev/null');
  });

  test('no core dumps, no more files, no more processes', () => {
    const limits = readFileSync(proc('limits'), 'utf8');
    for (const name of ['Max core file size', 'Max open files', 'Max processes', ...(sanitized() ? [] : ['Max file size'])])
      assert.match(limits, new RegExp(`^${name}\\s+0\\s+0\\s`, 'm'));
  });

  test('others of the same user can neither trace it nor read its memory', () => {
    // What is not dumpable belongs to root, whoever runs it.
    assert.equal(statSync(proc('environ')).uid, 0);
    const user = root ? { uid: 65534, gid: 65534 } : {};
    for (const name of ['environ', 'maps', 'mem']) {
      const { status: code, stderr } = spawnSync('head', ['-c', '1', proc(name)], { ...user, encoding: 'utf8' });
      assert.notEqual(code, 0, name);
      assert.match(stderr, /denied|not permitted/, name);
    }
  });

  test("payd's environment and libraries stay with payd", { skip: !root && 'only root may look' }, () => {
    assert.doesNotMatch(readFileSync(proc('environ'), 'utf8'), /a-secret-of-payd/);
    const maps = readFileSync(proc('maps'), 'utf8');
    assert.match(maps, /libcrypto/);
    assert.doesNotMatch(maps, /libcurl|libpq|libnats|libmicrohttpd|libhiredis|libssl|libyaml/);
  });

  test('its command line holds no secret', () => {
    const line = readFileSync(proc('cmdline'), 'utf8');
    assert.match(line, /--mnemonic-file/);
    assert.doesNotMatch(line, /junk/);
  });

  test('signals that are meant for payd do not end it', async () => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGPIPE']) process.kill(pid, signal);
    assert.equal((await signer.sign({ data: calls.withdraw })).verdict, 'signed');
    assert.equal(signer.pid, pid);
  });

  test('started by hand it says what it is, and holds nothing', () => {
    const { status: code, stderr } = spawnSync(binary('payd-signer'), ['--mnemonic-file', join(dir, 'words')], { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
    assert.equal(code, 2);
    assert.match(stderr, /payd, which starts it/);
  });

  test('killed, it comes back with the same address, and says both', async () => {
    process.kill(pid, 'SIGKILL');
    await waitUntil('its death to be noticed', async () => !(await signer.up()));
    await waitUntil('it to be there again', () => signer.up());
    assert.deepEqual(signer.health.map(({ healthy }) => healthy), [true, false, true]);
    assert.notEqual(signer.pid, pid);
    pid = signer.pid;
    assert.equal(status().Seccomp, '2');
    const { raw } = await signer.sign({ data: calls.withdraw });
    assert.equal(await recoverTransactionAddress({ serializedTransaction: raw }), signer.address);
  });

  test('it does not outlive payd', async () => {
    const doomed = await withWords();
    const { pid: orphan } = doomed;
    doomed.process.kill('SIGKILL');
    assert.equal(await doomed.ended, 'SIGKILL');
    await waitUntil('the signer to end', () => {
      try {
        return /^State:\s+Z/m.test(readFileSync(`/proc/${orphan}/status`, 'utf8'));
      } catch {
        return true;
      }
    });
  });

  test('what it logs holds no secret', () => {
    for (const one of running) assert.doesNotMatch(one.log, /junk|wr0ng-secret|a Passphrase/);
  });
});
