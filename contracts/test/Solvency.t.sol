// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "forge-std/Test.sol";
import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { Terms } from "../src/Terms.sol";

/// Everybody who may move money or time, doing it at random; keeps its own books.
contract Town is Fixture {
    uint256 public paidIn;
    uint256 public earned;
    uint256 public fees;
    uint256 public gifts;
    uint256 public rescued;
    address[4] public subscribers;
    uint256[4] private keys;
    mapping(address => uint256) public highestSeq;
    mapping(address => uint256) public paidBy;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < subscribers.length; i++) {
            (subscribers[i], keys[i]) = makeAddrAndKey(string.concat("subscriber ", vm.toString(i)));
            token.mint(subscribers[i], 1e30);
            vm.prank(subscribers[i]);
            token.approve(address(octroi), type(uint256).max);
        }
    }

    function books() external view returns (Octroi, DevStablecoin) {
        return (octroi, token);
    }

    function pay(uint256 who, uint32 startBack, uint32 length, uint64 extra, bool keepStart) external {
        subscriber = subscribers[who % subscribers.length];
        Terms slot = Terms.wrap(octroi.slotOf(subscriber, SERVICE));
        bool runs = slot.expiry() > block.timestamp;
        Fields memory f = month();
        f.start = runs && keepStart ? slot.start() : f.start - uint32(bound(startBack, 0, 300));
        f.expiry = uint32(block.timestamp + bound(length, 1, 400 days));
        uint256 held = slot.unused(f.start);
        f.paid = uint64(held + bound(extra, 0, 1e15));
        f.seq = slot.seq() + 1;
        uint256 due = f.paid - held;
        if (octroi.isRevoked(subscriber, SERVICE)) return;
        pay(f);
        paidIn += due;
        paidBy[subscriber] += due;
        highestSeq[subscriber] = f.seq;
    }

    function replay(uint256 who) external {
        subscriber = subscribers[who % subscribers.length];
        uint256 terms = octroi.slotOf(subscriber, SERVICE);
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.expectRevert();
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms, r, vs);
    }

    function pass(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 9 days));
    }

    function revoke(uint256 who) external {
        address subject = subscribers[who % subscribers.length];
        bool revoked = octroi.isRevoked(subject, SERVICE);
        vm.prank(operator);
        octroi.setRevoked(subject, SERVICE, !revoked);
    }

    function withdraw() external {
        (, uint256 amount,) = octroi.accounts(address(token));
        if (amount == 0) return;
        vm.prank(payee);
        octroi.withdraw(address(token));
        earned += amount;
    }

    function withdrawFees() external {
        (,, uint256 amount) = octroi.accounts(address(token));
        if (amount == 0) return;
        vm.prank(admin);
        octroi.withdrawFees(address(token));
        fees += amount;
    }

    function setFee(uint16 bps) external {
        vm.prank(admin);
        octroi.setFee(uint16(bound(bps, 0, 2000)), feeRecipient);
    }

    function give(uint64 amount) external {
        token.mint(address(octroi), amount);
        gifts += amount;
    }

    function rescue() external {
        uint256 spare = token.balanceOf(address(octroi)) - octroi.liabilities(address(token));
        if (spare == 0) return;
        vm.prank(admin);
        octroi.rescue(address(token), stranger);
        rescued += spare;
    }
}

contract SolvencyTest is Test {
    Town private town;
    Octroi private octroi;
    DevStablecoin private token;

    function setUp() public {
        town = new Town();
        town.setUp();
        (octroi, token) = town.books();
        bytes4[] memory acts = new bytes4[](9);
        acts[0] = Town.pay.selector;
        acts[1] = Town.replay.selector;
        acts[2] = Town.pass.selector;
        acts[3] = Town.revoke.selector;
        acts[4] = Town.withdraw.selector;
        acts[5] = Town.withdrawFees.selector;
        acts[6] = Town.setFee.selector;
        acts[7] = Town.give.selector;
        acts[8] = Town.rescue.selector;
        targetContract(address(town));
        targetSelector(FuzzSelector(address(town), acts));
    }

    /// What is owed is there, and is what came in less what went out.
    function invariant_solvency() public view {
        (uint256 escrow, uint256 earned, uint256 fees) = octroi.accounts(address(token));
        uint256 owed = escrow + earned + fees;
        assertEq(owed, octroi.liabilities(address(token)));
        assertEq(owed, town.paidIn() - town.earned() - town.fees());
        assertEq(token.balanceOf(address(octroi)), owed + town.gifts() - town.rescued());
    }

    /// No grant without a payment, no seq that goes back or is skipped.
    function invariant_grants() public view {
        for (uint256 i = 0; i < 4; i++) {
            address subscriber = town.subscribers(i);
            Terms slot = Terms.wrap(octroi.slotOf(subscriber, keccak256("api")));
            assertEq(slot.seq(), town.highestSeq(subscriber));
            assertLe(slot.paid(), town.paidBy(subscriber));
        }
    }
}
