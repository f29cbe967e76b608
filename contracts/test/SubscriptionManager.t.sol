// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SlotDerivation } from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import { Fixture } from "./Fixture.sol";
import { SubscriptionManager } from "../src/SubscriptionManager.sol";
import { Terms, TermsLib } from "../src/Terms.sol";

contract SubscriptionManagerTest is Fixture {
    event Revoked(address indexed subscriber, bytes32 indexed serviceId, uint16 seq, bool revoked);

    function test_slotIsTheTermsAsSigned() public {
        uint256 terms = pay(month());
        assertEq(octroi.slotOf(subscriber, SERVICE), terms);
        assertEq(octroi.slotOf(subscriber, keccak256("other")), 0);
        assertEq(octroi.slotOf(stranger, SERVICE), 0);
    }

    function test_digestIsTheStandards() public view {
        uint256 terms = pack(month());
        assertEq(
            octroi.quoteDigest(subscriber, SERVICE, address(token), terms),
            digestOf(subscriber, address(token), terms)
        );
    }

    function test_refusesAnExpiredQuote() public {
        Fields memory f = month();
        uint256 end = Terms.wrap(pack(f)).payableBefore();
        vm.warp(end);
        refused(f, abi.encodeWithSelector(SubscriptionManager.QuoteExpired.selector, end));
        vm.warp(end - 1);
        pay(f);
    }

    function test_refusesAnotherSeqThanTheNext() public {
        Fields memory f = month();
        f.seq = 0;
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 1));
        f.seq = 2;
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 1));
        f.seq = 1;
        pay(f);
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 2));
    }

    function test_theLastSeqEndsTheSlot() public {
        Fields memory f = month();
        pay(f);
        f.seq = type(uint16).max;
        bytes32 key = keccak256(abi.encode(subscriber, SERVICE));
        vm.store(
            address(octroi),
            keccak256(abi.encode(key, SlotDerivation.erc7201Slot("octroi.subscriptions"))),
            bytes32(pack(f))
        );
        assertEq(octroi.slotOf(subscriber, SERVICE), pack(f));
        f.seq = 0;
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 65_536));
    }

    function test_refusesAPeriodThatIsNone() public {
        Fields memory f = month();
        f.expiry = f.start;
        refused(f, abi.encodeWithSelector(SubscriptionManager.BadPeriod.selector));
        f.start = uint32(block.timestamp) - 10;
        f.expiry = uint32(block.timestamp);
        refused(f, abi.encodeWithSelector(SubscriptionManager.BadPeriod.selector));
        f.expiry += 1;
        pay(f);
    }

    function test_refusesLessThanIsHeld() public {
        pay(month());
        vm.warp(NOW + MONTH / 2);
        Fields memory f = month();
        f.seq = 2;
        f.paid = PRICE / 2 - 1;
        refused(f, abi.encodeWithSelector(TermsLib.PaidBelowHeld.selector, PRICE / 2));
        f.paid = PRICE / 2;
        uint256 before = token.balanceOf(subscriber);
        pay(f);
        assertEq(token.balanceOf(subscriber), before);
    }

    function test_renewalPaysTheWholeDifference() public {
        Fields memory f = month();
        pay(f);
        vm.warp(NOW + MONTH / 2);
        f.expiry += MONTH;
        f.paid += PRICE;
        f.seq = 2;
        f.validUntil = minute(block.timestamp);
        uint256 before = token.balanceOf(subscriber);
        pay(f);
        assertEq(before - token.balanceOf(subscriber), PRICE);
        assertEq(octroi.slotOf(subscriber, SERVICE), pack(f));
    }

    function testFuzz_due(uint32 elapsed, uint64 first, uint64 second, bool sameToken) public {
        first = uint64(bound(first, 0, 1e14));
        second = uint64(bound(second, 0, 1e14));
        elapsed = uint32(bound(elapsed, 0, 2 * MONTH));
        Fields memory f = month();
        f.paid = first;
        pay(f);
        vm.warp(NOW + elapsed);
        f = month();
        f.seq = 2;
        f.paid = second;
        if (!sameToken) {
            f.token = useSecondToken();
        }
        uint256 held = elapsed < MONTH ? uint256(first) * (MONTH - elapsed) / MONTH : 0;
        if (!sameToken) held = 0;
        if (second < held) {
            refused(f, abi.encodeWithSelector(TermsLib.PaidBelowHeld.selector, held));
        } else {
            uint256 before = token.balanceOf(subscriber);
            pay(f);
            assertEq(before - token.balanceOf(subscriber), second - held);
        }
    }

    function test_revocationStopsPaymentUntilItIsLifted() public {
        Fields memory f = month();
        uint256 terms = pay(f);
        vm.expectEmit(address(octroi));
        emit Revoked(subscriber, SERVICE, 1, true);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        assertTrue(octroi.isRevoked(subscriber, SERVICE));
        assertEq(octroi.slotOf(subscriber, SERVICE), terms);
        f.seq = 2;
        refused(f, abi.encodeWithSelector(SubscriptionManager.SlotRevoked.selector));
        vm.expectEmit(address(octroi));
        emit Revoked(subscriber, SERVICE, 1, false);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, false);
        assertFalse(octroi.isRevoked(subscriber, SERVICE));
        pay(f);
    }

    function test_revocationOfASlotNeverPaidFor() public {
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        assertEq(octroi.slotOf(subscriber, SERVICE), 0);
        refused(month(), abi.encodeWithSelector(SubscriptionManager.SlotRevoked.selector));
    }

    function test_revocationThatChangesNothingIsRefused() public {
        vm.expectRevert(SubscriptionManager.RevocationUnchanged.selector);
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, false);
    }

    function test_onlyTheOperatorRevokes() public {
        bytes32 role = octroi.OPERATOR_ROLE();
        vm.expectRevert(missingRole(admin, role));
        vm.prank(admin);
        octroi.setRevoked(subscriber, SERVICE, true);
    }
}
