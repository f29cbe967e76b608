// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Wallet } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { AccessToken } from "../src/AccessToken.sol";

contract AccessTokenTest is Fixture {
    bytes32 private constant CHALLENGE = keccak256("challenge");

    function test_aProofGivesTheLimitsBought() public {
        Fields memory f = month();
        pay(f);
        AccessToken.Qos memory qos = verify(block.timestamp + 60, proof(subscriberKey, block.timestamp + 60));
        assertEq(qos.start, f.start);
        assertEq(qos.expiry, f.expiry);
        assertEq(qos.plan, f.plan);
        assertEq(qos.rate, f.rate);
        assertEq(qos.bandwidth, f.bandwidth);
        assertEq(qos.quota, f.quota);
        assertEq(qos.seq, f.seq);
    }

    function test_refusesTheProofOfAnother() public {
        pay(month());
        bytes memory bad = proof(signerKey, block.timestamp);
        vm.expectRevert(AccessToken.BadProof.selector);
        verify(block.timestamp, bad);
        vm.expectRevert(AccessToken.BadProof.selector);
        verify(block.timestamp, "");
    }

    function test_refusesAnotherStatement() public {
        pay(month());
        bytes memory good = proof(subscriberKey, block.timestamp);
        vm.expectRevert(AccessToken.BadProof.selector);
        verify(block.timestamp + 1, good);
        vm.expectRevert(AccessToken.BadProof.selector);
        octroi.verifyAccess(subscriber, SERVICE, block.timestamp, keccak256("other"), good);
    }

    function test_aProofEnds() public {
        pay(month());
        uint256 notAfter = block.timestamp + 60;
        bytes memory good = proof(subscriberKey, notAfter);
        vm.warp(notAfter);
        verify(notAfter, good);
        vm.warp(notAfter + 1);
        vm.expectRevert(AccessToken.ProofExpired.selector);
        verify(notAfter, good);
    }

    function test_aProofIsNotForEver() public {
        pay(month());
        uint256 notAfter = block.timestamp + octroi.MAX_PROOF_LIFETIME();
        verify(notAfter, proof(subscriberKey, notAfter));
        bytes memory long = proof(subscriberKey, notAfter + 1);
        vm.expectRevert(AccessToken.ProofTooLong.selector);
        verify(notAfter + 1, long);
    }

    function test_accessFollowsTheGrant() public {
        vm.expectRevert(AccessToken.NoAccess.selector);
        octroi.accessOf(subscriber, SERVICE);
        Fields memory f = month();
        f.start += 30;
        pay(f);
        vm.expectRevert(AccessToken.NoAccess.selector);
        octroi.accessOf(subscriber, SERVICE);
        vm.warp(f.start);
        octroi.accessOf(subscriber, SERVICE);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        vm.expectRevert(AccessToken.NoAccess.selector);
        octroi.accessOf(subscriber, SERVICE);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, false);
        vm.warp(f.expiry - 1);
        octroi.accessOf(subscriber, SERVICE);
        vm.warp(f.expiry);
        vm.expectRevert(AccessToken.NoAccess.selector);
        octroi.accessOf(subscriber, SERVICE);
    }

    function test_aWalletThatIsAContractSignsByErc1271() public {
        pay(month());
        bytes32 digest = octroi.accessDigest(subscriber, SERVICE, block.timestamp, CHALLENGE);
        vm.etch(subscriber, address(new Wallet(digest, "yes")).code);
        verify(block.timestamp, "yes");
        vm.expectRevert(AccessToken.BadProof.selector);
        verify(block.timestamp, "no");
    }

    function proof(uint256 key, uint256 notAfter) private view returns (bytes memory) {
        bytes32 typehash =
            keccak256("Access(address subscriber,bytes32 serviceId,uint256 notAfter,bytes32 challenge)");
        bytes32 inner = keccak256(abi.encode(typehash, subscriber, SERVICE, notAfter, CHALLENGE));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", octroi.domainSeparator(), inner));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function verify(uint256 notAfter, bytes memory signature) private view returns (AccessToken.Qos memory) {
        return octroi.verifyAccess(subscriber, SERVICE, notAfter, CHALLENGE, signature);
    }
}
