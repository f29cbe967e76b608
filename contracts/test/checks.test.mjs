// The checks of the sources, checked on a small one: each must find the fault that it is there for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, layout } from '../script/layout.mjs';
import { check } from '../script/natspec.mjs';

const BASE = `pragma solidity 0.8.37;
/// @notice An entry.
/// @param amount How much.
/// @param last When.
struct Entry { uint72 amount; uint24 last; }
/// @notice A pair.
/// @param a One.
/// @param b Another.
struct Pair { uint128 a; uint128 b; }
abstract contract Base {
  /// @custom:storage-location erc7201:octroi.base
  struct BaseStorage { address signer; bool paused; uint64 until; }
}
contract Small is Base {
  /// @custom:storage-location erc7201:octroi.small
  struct SmallStorage { mapping(address => Entry) entries; address[] list; Pair pair; uint256 end; }
  /// @notice Something happened.
  /// @param what What.
  event Happened(uint256 indexed what);
  /// @notice Nothing is there.
  error Nothing();
  /// @notice A bound.
  uint256 public constant MOST = 7;
  /// @notice Does it.
  /// @param what What.
  /// @return Whether it did.
  function act(uint256 what) external pure returns (bool) { return what > MOST; }
  function _quiet() private {}
}
`;

function changed(from, to) {
  assert.ok(BASE.includes(from), `there is no "${from}"`);
  return { 'src/Small.sol': BASE.replace(from, to) };
}

const texts = { 'src/Small.sol': BASE };
const before = layout(texts, 'Small');
const follows = (from, to) => compare(before, layout(changed(from, to), 'Small')).join('\n');

test('a layout says where each member lies', () => {
  assert.deepEqual(Object.keys(before.namespaces), ['octroi.base', 'octroi.small']);
  const [signer, paused] = before.namespaces['octroi.base'].members;
  assert.deepEqual(signer, { label: 'signer', slot: 0, offset: 0, type: 'address' });
  assert.deepEqual(paused, { label: 'paused', slot: 0, offset: 20, type: 'bool' });
  assert.deepEqual(Object.keys(before.structs), ['struct Entry', 'struct Pair']);
  assert.deepEqual(compare(before, before), []);
});

test('what grew at an end is accepted', () => {
  assert.equal(follows('uint64 until; }', 'uint64 until; uint256 more; }'), '');
  assert.equal(follows('uint256 end; }', 'uint256 end; mapping(bytes32 => bool) more; }'), '');
  assert.equal(follows('uint24 last; }', 'uint24 last; uint256 more; }'), '', 'a mapping’s value may grow');
  const more = '/// @custom:storage-location erc7201:octroi.more\n  struct More { uint256 a; }\n  error Nothing();';
  assert.equal(follows('error Nothing();', more), '', 'a namespace more');
});

test('whatever moves state is refused', () => {
  const faults = [
    ['a reordered namespace', 'address signer; bool paused;', 'bool paused; address signer;', /octroi\.base: .*signer.* became/],
    ['a reordered struct', 'uint72 amount; uint24 last;', 'uint24 last; uint72 amount;', /struct Entry: .* became/],
    ['a member less', ' uint64 until;', '', /until is gone/],
    ['a member between', 'address[] list;', 'uint256 more; address[] list;', /octroi\.small: /],
    ['a type of the same size', 'bool paused;', 'uint8 paused;', /octroi\.base: .*uint8/],
    ['a wider field', 'uint24 last;', 'uint32 last;', /struct Entry: /],
    ['another place', 'erc7201:octroi.small', 'erc7201:octroi.other', /octroi\.small is gone/],
    ['a struct that grew into what follows', 'uint128 b; }', 'uint128 b; uint256 more; }', /octroi\.small|struct Pair: something follows/],
  ];
  for (const [what, from, to, why] of faults) assert.match(follows(from, to), why, what);
});

test('a variable outside of every namespace is refused', () => {
  assert.throws(() => layout(changed('error Nothing();', 'error Nothing();\n  uint256 private stray;'), 'Small'), /Small\.stray lies outside/);
});

test('what is not documented is found', () => {
  assert.deepEqual(check(texts).found, []);
  const faults = [
    ['/// @notice Does it.\n', '\n', /act: @notice$/],
    ['  /// @return Whether it did.\n', '', /act: @return$/],
    ['  /// @notice A bound.\n', '', /MOST: @notice$/],
    ['/// @notice Nothing is there.\n', '\n', /Nothing: @notice$/],
    ['  /// @param what What.\n  event', '  event', /Happened: @param what$/],
    ['/// @param last When.\n', '', /Entry: @param last$/],
  ];
  for (const [from, to, why] of faults) {
    const { found } = check(changed(from, to));
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0], why);
  }
});
