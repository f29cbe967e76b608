// Checks what stands on the chain against the deployment file, the environment where it says more, and our own artifacts:
// code, roles, signers, fee, tokens. Reads only; needs no key. Run by deploy.mjs, and alone at any time.
//   OCTROI_RPC_URL=... OCTROI_DEPLOYMENT_FILE=... node contracts/script/verify.mjs
import { fileURLToPath } from 'node:url';
import { getAddress, hashDomain, zeroAddress } from 'viem';
import { artifact, isCodeOf } from './artifacts.mjs';
import { Refusal, chainExpected, deploymentFile, endpoints, readJson, reader, run } from './settings.mjs';

// EIP-1967: keccak256("eip1967.proxy.implementation") - 1.
const IMPLEMENTATION_SLOT = '0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc';

const DOMAIN = {
  EIP712Domain: [
    { name: 'name', type: 'string' },
    { name: 'version', type: 'string' },
    { name: 'chainId', type: 'uint256' },
    { name: 'verifyingContract', type: 'address' },
  ],
};

const same = (a, b) => getAddress(a) === getAddress(b);

// Answers { what, ok, is }: `is` is what the chain says.
class Checks {
  constructor(client, deployment) {
    const { abi } = artifact('Octroi');
    Object.assign(this, { client, deployment, list: [] });
    this.read = (functionName, args = [], address = deployment.contract) => client.readContract({ address, abi, functionName, args });
  }

  add(what, ok, is = '') {
    this.list.push({ what, ok: Boolean(ok), is: String(is) });
  }

  async code() {
    const { client, deployment } = this;
    const { contract, implementation } = deployment;
    const slot = await client.getStorageAt({ address: contract, slot: IMPLEMENTATION_SLOT });
    const stands = getAddress(`0x${slot.slice(26)}`);
    this.add('the proxy points to the implementation of the file', same(stands, implementation), stands);
    this.add('the proxy is our OctroiProxy', isCodeOf('OctroiProxy', await client.getCode({ address: contract })));
    this.add('the implementation is our Octroi', isCodeOf('Octroi', await client.getCode({ address: implementation })));
    const separator = hashDomain({ domain: { name: 'Octroi', version: '1', chainId: deployment.chain_id, verifyingContract: contract }, types: DOMAIN });
    this.add('the EIP-712 domain is the one that quotes are signed in', (await this.read('domainSeparator')) === separator, separator);
  }

  // Who holds what, for whom the file or the environment names; and that nobody else slipped in as admin.
  async roles(expected) {
    const { deployment } = this;
    const admin = await this.read('defaultAdmin');
    this.add('the admin', !expected.admin || same(admin, expected.admin), admin);
    const [pending] = await this.read('pendingDefaultAdmin');
    this.add('no change of the admin is under way', pending === zeroAddress, pending);
    const holds = async (role, who, what) => {
      if (!who || who === zeroAddress) return;
      this.add(`${what} holds ${role}`, await this.read('hasRole', [await this.read(role), who]), who);
    };
    await holds('OPERATOR_ROLE', expected.operator, 'the operator');
    await holds('PAUSER_ROLE', expected.operator, 'the operator');
    await holds('TREASURER_ROLE', expected.operator, 'the operator');
    await holds('TREASURER_ROLE', deployment.payee, 'the payee');
    await holds('REFUNDER_ROLE', deployment.refunder, 'the refunder');
    if (!expected.deployer || same(expected.deployer, admin)) return;
    for (const role of ['OPERATOR_ROLE', 'PAUSER_ROLE', 'TREASURER_ROLE', 'REFUNDER_ROLE']) {
      const named = [expected.operator, deployment.payee, deployment.refunder].some((who) => who && same(who, expected.deployer));
      if (!named) this.add(`the deployer does not hold ${role}`, !(await this.read('hasRole', [await this.read(role), expected.deployer])));
    }
  }

  async settings(expected) {
    const { deployment } = this;
    const [signer, previous] = await this.read('signer');
    this.add('the quote signer', same(signer, expected.signer ?? deployment.signer), `${signer}${previous === zeroAddress ? '' : `, before it ${previous}`}`);
    const payee = await this.read('payee');
    this.add('the payee', same(payee, deployment.payee), payee);
    const receipts = await this.read('receiptSigner');
    this.add('the receipt signer', same(receipts, deployment.receipt_signer ?? zeroAddress), receipts);
    const [bps, recipient] = await this.read('fee');
    this.add('the fee', expected.feeBps === undefined || (bps === expected.feeBps && same(recipient, expected.feeRecipient)), `${bps} basis points to ${recipient}`);
    this.add('payments are not paused', !(await this.read('paused')));
  }

  async tokens() {
    const { deployment } = this;
    const count = Number(await this.read('tokenCount'));
    this.add('the number of tokens', count === deployment.tokens.length, count);
    for (const { token, index } of deployment.tokens) {
      const [is, enabled] = await this.read('tokenInfo', [token]);
      this.add(`token ${index} is taken`, is === index && enabled, token);
    }
  }
}

/** All checks of a deployment. `expected`: what the environment says beyond the file, may be empty. */
export async function verify(client, deployment, expected = {}) {
  const checks = new Checks(client, deployment);
  const id = await client.getChainId();
  checks.add('the chain is the one of the file', id === deployment.chain_id, id);
  if (id !== deployment.chain_id) return checks.list;
  await checks.code();
  await checks.roles(expected);
  await checks.settings(expected);
  await checks.tokens();
  return checks.list;
}

/** Prints the list; false where something is not as it should be. */
export function tell(list) {
  for (const { what, ok, is } of list) console.log(`${ok ? 'ok    ' : 'WRONG '} ${what}${is ? `: ${is}` : ''}`);
  return list.every(({ ok }) => ok);
}

async function main() {
  const client = reader(endpoints());
  const deployment = readJson(deploymentFile());
  const wanted = chainExpected();
  if (wanted !== null && wanted !== deployment.chain_id) throw new Refusal(`the deployment file tells of chain ${deployment.chain_id}, OCTROI_CHAIN_ID says ${wanted}`);
  if (!tell(await verify(client, deployment))) throw new Refusal('the contract is not as the deployment file says');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) run('verify', main);
