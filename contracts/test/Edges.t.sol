// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { GivingToken, StrictToken } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { SubscriptionManager } from "../src/SubscriptionManager.sol";
import { TermsLib } from "../src/Terms.sol";

/// What is at the end of what fits: the largest terms there can be, and transfers of nothing and of too little.
contract EdgesTest is Fixture {
    /// Every field is full, from the quote over the revocation to the refund: none touches its neighbour.
    function test_allFieldsAtTheirMaximum() public {
        Fields memory f = Fields({
            start: type(uint32).max - 1,
            expiry: type(uint32).max,
            paid: type(uint64).max,
            plan: type(uint16).max,
            rate: type(uint16).max,
            bandwidth: type(uint16).max,
            quota: type(uint32).max,
            seq: type(uint16).max,
            token: 1,
            validUntil: type(uint24).max
        });
        vm.warp(TermsLib.MINUTES_FROM + uint256(type(uint24).max) * 60);
        slotBeforeTheLast();
        token.mint(subscriber, type(uint64).max);
        uint256 terms = pay(f);
        assertEq(octroi.slotOf(subscriber, SERVICE), terms);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        assertEq(octroi.slotOf(subscriber, SERVICE), terms);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), type(uint16).max, type(uint64).max);
        assertEq(octroi.slotOf(subscriber, SERVICE), uint256(type(uint16).max) << 208);
        assertTrue(octroi.isRevoked(subscriber, SERVICE));
        assertEq(octroi.liabilities(address(token)), 0);
        vm.prank(refunder);
        vm.expectRevert(SubscriptionManager.NothingToRefund.selector);
        octroi.refund(subscriber, SERVICE, address(token), type(uint16).max, 0);
    }

    /// A token that takes no transfer of nothing, against its standard: what costs nothing cannot be paid in it, and a
    /// refund sends one unit at least.
    function test_aTokenThatMovesNoZeroIsRefundedFromOneUnitOn() public {
        Fields memory f = paidIn(address(new StrictToken()));
        f.paid = 0;
        refused(f, abi.encodeWithSignature("Error(string)", "nothing"));
        f.paid = 1;
        pay(f);
        vm.warp(NOW + 1 days); // holds less than one unit
        vm.prank(refunder);
        vm.expectRevert("nothing");
        octroi.refund(subscriber, SERVICE, address(token), 1, 0);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), 1, 1);
        assertEq(octroi.liabilities(address(token)), 0);
    }

    /// A short transfer that a gift in its midst makes whole leaves no debt.
    function test_aGiftInTheMidstOfATransferIsMoneyToo() public {
        pay(paidIn(address(new GivingToken())));
        assertEq(octroi.liabilities(address(token)), PRICE);
        assertEq(token.balanceOf(address(octroi)), PRICE);
    }

    function paidIn(address which) private returns (Fields memory f) {
        token = DevStablecoin(which);
        token.mint(subscriber, PRICE);
        vm.prank(subscriber);
        token.approve(address(octroi), PRICE);
        vm.prank(admin);
        f = month();
        f.token = octroi.addToken(which);
    }

    /// As after 65,534 payments.
    function slotBeforeTheLast() private {
        bytes32 namespace = 0xb79cba9645e5579ae2d456b7b5edca30eb1e2db6529f2622438c8d3c00711f00;
        bytes32 key = keccak256(abi.encode(subscriber, SERVICE));
        vm.store(
            address(octroi),
            keccak256(abi.encode(key, namespace)),
            bytes32(uint256(type(uint16).max - 1) << 208)
        );
    }
}
