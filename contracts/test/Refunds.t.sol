// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SlotDerivation } from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import { OctroiNext } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { Core } from "../src/Core.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { OctroiProxy } from "../src/OctroiProxy.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";
import { SubscriptionManager } from "../src/SubscriptionManager.sol";
import { Terms } from "../src/Terms.sol";

contract RefundsTest is Fixture {
    event Refunded(
        address indexed subscriber,
        bytes32 indexed serviceId,
        address indexed token,
        uint16 seq,
        uint256 amount
    );
    event TransferRefunded(bytes32 indexed id, address indexed token, address indexed to, uint256 amount);

    bytes32 private constant ID = keccak256("transfer");

    function test_aRefundSendsTheMoneyBackAndClearsTheGrant() public {
        pay(month());
        uint256 before = token.balanceOf(subscriber);
        vm.expectEmit(address(octroi));
        emit Refunded(subscriber, SERVICE, address(token), 1, PRICE);
        refund(1, PRICE);
        assertEq(token.balanceOf(subscriber) - before, PRICE);
        assertEq(token.balanceOf(address(octroi)), 0);
        assertEq(octroi.slotOf(subscriber, SERVICE), uint256(2) << 208);
        expectAccounts(0, 0, 0);
        vm.expectRevert(abi.encodeWithSignature("NoAccess()"));
        octroi.accessOf(subscriber, SERVICE);
    }

    function test_onlyTheRefunderRefunds() public {
        pay(month());
        bytes32 role = octroi.REFUNDER_ROLE();
        address[4] memory others = [admin, operator, payee, subscriber];
        for (uint256 i = 0; i < others.length; i++) {
            vm.startPrank(others[i]);
            vm.expectRevert(missingRole(others[i], role));
            octroi.refund(subscriber, SERVICE, address(token), 1, PRICE);
            vm.expectRevert(missingRole(others[i], role));
            octroi.refundTransfer(ID, address(token), others[i], 1);
            vm.stopPrank();
        }
    }

    function test_aSetupWithoutRefunderOrReceiptSignerHasNone() public {
        Octroi.Setup memory s = setup();
        (s.refunder, s.receiptSigner) = (address(0), address(0));
        Octroi bare = Octroi(address(new OctroiProxy(address(new Octroi()), initializer(s))));
        assertFalse(bare.hasRole(bare.REFUNDER_ROLE(), address(0)));
        assertEq(bare.receiptSigner(), address(0));
    }

    function test_aRefundGoesThroughWhilePausedOrRevokedAndLeavesThat() public {
        pay(month());
        vm.startPrank(operator);
        octroi.pause();
        octroi.setRevoked(subscriber, SERVICE, true);
        vm.stopPrank();
        refund(1, PRICE);
        assertTrue(octroi.isRevoked(subscriber, SERVICE));
        assertEq(octroi.slotOf(subscriber, SERVICE), uint256(2) << 208);
        vm.prank(admin);
        octroi.unpause();
        Fields memory f = month();
        f.seq = 3;
        refused(f, abi.encodeWithSelector(SubscriptionManager.SlotRevoked.selector));
    }

    function test_aRefundGoesThroughWhileItsTokenIsDisabled() public {
        pay(month());
        vm.prank(admin);
        octroi.setTokenEnabled(address(token), false);
        refund(1, PRICE);
        expectAccounts(0, 0, 0);
    }

    function test_onlyTheCurrentSeqIsRefundedAndOnce() public {
        Fields memory f = month();
        notRefunded(1, PRICE, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 0));
        notRefunded(0, 0, abi.encodeWithSelector(SubscriptionManager.NothingToRefund.selector));
        pay(f);
        f.expiry += MONTH;
        f.paid += PRICE;
        f.seq = 2;
        pay(f);
        notRefunded(1, PRICE, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 2));
        notRefunded(3, PRICE, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 2));
        refund(2, 2 * PRICE);
        notRefunded(2, 2 * PRICE, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 3));
        notRefunded(3, 0, abi.encodeWithSelector(SubscriptionManager.NothingToRefund.selector));
    }

    function test_theTokenMustBeThePayments() public {
        pay(month());
        DevStablecoin paidIn = token;
        useSecondToken();
        notRefunded(1, PRICE, abi.encodeWithSelector(PaymentProcessor.WrongTokenIndex.selector, 2));
        token = new DevStablecoin();
        notRefunded(1, PRICE, abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, address(token)));
        token = paidIn;
        refund(1, PRICE);
    }

    function test_theWindowEnds() public {
        uint256 terms = pay(month());
        uint256 until = Terms.wrap(terms).payableBefore() + 6 days;
        assertEq(octroi.REFUND_WINDOW(), 6 days);
        uint256 state = vm.snapshotState();
        vm.warp(until);
        notRefunded(1, PRICE, abi.encodeWithSelector(SubscriptionManager.RefundWindowOver.selector, until));
        vm.revertToState(state);
        vm.warp(until - 1);
        refund(1, PRICE);
    }

    function test_aQuoteIsPayableForADayAtMost() public {
        Fields memory f = month();
        f.validUntil = minute(NOW + 1 days);
        uint256 end = Terms.wrap(pack(f)).payableBefore();
        refused(f, abi.encodeWithSelector(SubscriptionManager.ValidTooLong.selector, end));
        vm.warp(end - 1 days - 1);
        refused(f, abi.encodeWithSelector(SubscriptionManager.ValidTooLong.selector, end));
        vm.warp(end - 1 days);
        pay(f);
    }

    function testFuzz_theAmountIsBetweenWhatIsHeldAndWhatWasPaid(uint32 elapsed, uint64 paid, uint64 amount)
        public
    {
        elapsed = uint32(bound(elapsed, 0, 6 days));
        paid = uint64(bound(paid, 0, 1e14));
        amount = uint64(bound(amount, 0, uint256(paid) + 1));
        Fields memory f = month();
        f.paid = paid;
        pay(f);
        vm.warp(NOW + elapsed);
        uint256 held = uint256(paid) * (MONTH - elapsed) / MONTH;
        if (amount < held || amount > paid) {
            notRefunded(1, amount, abi.encodeWithSelector(SubscriptionManager.BadRefund.selector, held, paid));
        } else {
            refund(1, amount);
            expectAccounts(paid - amount, 0, 0);
        }
    }

    function test_noQuoteOfBeforeARefundIsPayableAfterIt() public {
        Fields memory f = month();
        pay(f);
        Fields memory renewal = month();
        renewal.seq = 2;
        renewal.paid = 2 * PRICE;
        refund(1, PRICE);
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 3));
        refused(renewal, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 3));
        f.seq = 3;
        uint256 before = token.balanceOf(subscriber);
        pay(f);
        assertEq(before - token.balanceOf(subscriber), PRICE, "what was refunded counts for nothing");
    }

    function test_theLastSeqIsRefundedAndStaysTheLast() public {
        pay(month());
        Fields memory f = month();
        f.seq = type(uint16).max;
        storeSlot(pack(f));
        refund(f.seq, PRICE);
        assertEq(octroi.slotOf(subscriber, SERVICE), uint256(65_535) << 208);
        notRefunded(f.seq, PRICE, abi.encodeWithSelector(SubscriptionManager.NothingToRefund.selector));
        token.mint(address(octroi), PRICE);
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 65_536));
        f.seq = 0;
        refused(f, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 65_536));
    }

    function test_aGrantThatCostNothingIsTakenBackForNothing() public {
        Fields memory f = month();
        f.paid = 0;
        pay(f);
        notRefunded(1, 1, abi.encodeWithSelector(SubscriptionManager.BadRefund.selector, 0, 0));
        refund(1, 0);
        assertEq(octroi.slotOf(subscriber, SERVICE), uint256(2) << 208);
    }

    function test_anUpgradeWithNothingDueIsRefundedOutOfThePaymentBefore() public {
        pay(month());
        vm.warp(NOW + 1 days);
        Fields memory f = month();
        f.seq = 2;
        f.paid = uint64(uint256(PRICE) * 29 / 30);
        pay(f);
        expectAccounts(PRICE, 0, 0);
        refund(2, f.paid);
        expectAccounts(PRICE - f.paid, 0, 0);
    }

    function test_whatARenewalCarriedOverIsTakenFromWhatHasLeftEscrowFirst() public {
        vm.warp(epochStart(1));
        payAs("old", 1, month()); // stays in the ledger as settled
        pay(month());
        vm.warp(epochStart(2));
        payAs("previous", 1, month());
        vm.warp(epochStart(3));
        payAs("current", 1, month());
        Fields memory f = month();
        f.seq = 2;
        f.paid = 10 * PRICE;
        uint256 due = 10 * PRICE - uint256(PRICE) * 16 / 30;
        pay(f);
        expectAccounts(2 * PRICE + due, 2 * PRICE - PRICE / 20, PRICE / 20);
        refund(2, 10 * PRICE);
        // All of what was settled, all of the previous epoch, the rest of this one.
        expectAccounts(2 * PRICE + due + 2 * PRICE - 10 * PRICE, 0, 0);
    }

    function test_withoutEnoughLeftWhatIsEarnedPaysAndThenNothingDoes() public {
        vm.warp(epochStart(1));
        Fields memory f = month();
        pay(f);
        vm.warp(epochStart(3));
        f.seq = 2;
        f.paid = 10 * PRICE;
        f.validUntil = month().validUntil;
        f.expiry = uint32(block.timestamp) + 300 days;
        pay(f);
        vm.prank(admin);
        octroi.setFee(250, feeRecipient); // settles
        uint256 state = vm.snapshotState();
        vm.prank(payee);
        octroi.withdraw(address(token));
        notRefunded(2, 10 * PRICE, abi.encodeWithSelector(PaymentProcessor.NotCovered.selector, PRICE));
        vm.revertToState(state);
        // The fee of the first payment was split off: what is left lacks as much.
        notRefunded(2, 10 * PRICE, abi.encodeWithSelector(PaymentProcessor.NotCovered.selector, PRICE / 40));
        // What another has paid is the other's.
        payAs("another", 1, month());
        notRefunded(2, 10 * PRICE, abi.encodeWithSelector(PaymentProcessor.NotCovered.selector, PRICE / 40));
        refundAs("another", 1, PRICE);
    }

    function test_whatIsEarnedPaysTheRest() public {
        vm.warp(epochStart(1));
        Fields memory f = month();
        pay(f);
        payAs("another", 1, month());
        vm.warp(epochStart(3));
        vm.prank(admin);
        octroi.setFee(0, feeRecipient); // settles
        f.seq = 2;
        f.paid = 3 * PRICE;
        f.validUntil = month().validUntil;
        pay(f);
        expectAccounts(2 * PRICE, 2 * PRICE - PRICE / 20, PRICE / 20);
        refund(2, 3 * PRICE);
        expectAccounts(0, PRICE - PRICE / 20, PRICE / 20);
    }

    /// Whenever a quote was paid, and for however long it was payable: in the last second of its window the
    /// whole payment is still in escrow, and others that were refunded or withdrawn before took none of it.
    function testFuzz_aPaymentStaysInEscrowThroughItsWindow(
        uint32 offset,
        uint16 validFor,
        uint32 otherOffset
    ) public {
        offset = uint32(bound(offset, 0, 2 * octroi.ESCROW_EPOCH()));
        otherOffset = uint32(bound(otherOffset, 0, 5 days));
        vm.warp(epochStart(1) + offset);
        Fields memory f = month();
        f.validUntil = minute(block.timestamp + bound(validFor, 0, 1 days - 60));
        uint256 until = Terms.wrap(pay(f)).payableBefore() + octroi.REFUND_WINDOW();
        payAs("first other", 1, month());
        vm.warp(block.timestamp + otherOffset);
        payAs("second other", 1, month());
        refundAs("second other", 1, PRICE);
        refundAs("first other", 1, PRICE);
        vm.warp(until - 1);
        vm.expectRevert(PaymentProcessor.NothingToWithdraw.selector);
        vm.prank(payee);
        octroi.withdraw(address(token));
        expectAccounts(PRICE, 0, 0);
        refund(1, PRICE);
        expectAccounts(0, 0, 0);
    }

    function test_whatIsRefundedPaysNoFee() public {
        pay(month());
        payAs("another", 1, month());
        refund(1, PRICE);
        vm.warp(NOW + 21 days);
        expectAccounts(0, PRICE - PRICE / 40, PRICE / 40);
    }

    function test_noRefundIsRepeatedAcrossAnUpgrade() public {
        pay(month());
        payAs("another", 1, month());
        address next = address(new OctroiNext());
        refund(1, PRICE);
        vm.prank(admin);
        octroi.upgradeToAndCall(next, "");
        notRefunded(1, PRICE, abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 2));
        notRefunded(2, PRICE, abi.encodeWithSelector(SubscriptionManager.NothingToRefund.selector));
        refundAs("another", 1, PRICE);
    }

    function test_aTransferIsSentBackOnce() public {
        pay(month());
        token.mint(address(octroi), 77);
        vm.expectEmit(address(octroi));
        emit TransferRefunded(ID, address(token), stranger, 77);
        assertFalse(octroi.isTransferRefunded(ID));
        vm.prank(refunder);
        octroi.refundTransfer(ID, address(token), stranger, 77);
        assertTrue(octroi.isTransferRefunded(ID));
        assertEq(token.balanceOf(stranger), 77);
        expectAccounts(PRICE, 0, 0);
        token.mint(address(octroi), 77);
        vm.startPrank(refunder);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.AlreadyRefunded.selector, ID));
        octroi.refundTransfer(ID, address(token), stranger, 77);
        octroi.refundTransfer(keccak256("another"), address(token), stranger, 77);
    }

    function test_aTransferIsNeverSentBackOutOfWhatIsOwed() public {
        pay(month());
        token.mint(address(octroi), 5);
        vm.startPrank(refunder);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.NotCovered.selector, 1));
        octroi.refundTransfer(ID, address(token), stranger, 6);
        vm.expectRevert(SubscriptionManager.NothingToRefund.selector);
        octroi.refundTransfer(ID, address(token), stranger, 0);
        vm.expectRevert(Core.ZeroAddress.selector);
        octroi.refundTransfer(ID, address(token), address(0), 5);
        DevStablecoin unlisted = new DevStablecoin();
        unlisted.mint(address(octroi), 5);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, address(unlisted)));
        octroi.refundTransfer(ID, address(unlisted), stranger, 5);
        octroi.refundTransfer(ID, address(token), stranger, 5);
        vm.stopPrank();
        // Owed more than there is, as after a token that took from us: nothing is spare.
        deal(address(token), address(octroi), PRICE - 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.NotCovered.selector, 1));
        vm.prank(refunder);
        octroi.refundTransfer(keccak256("another"), address(token), stranger, 1);
    }

    function epochStart(uint256 n) private view returns (uint256) {
        uint256 epoch = octroi.ESCROW_EPOCH();
        return (NOW / epoch + n) * epoch;
    }

    function storeSlot(uint256 word) private {
        bytes32 key = keccak256(abi.encode(subscriber, SERVICE));
        bytes32 at = keccak256(abi.encode(key, SlotDerivation.erc7201Slot("octroi.subscriptions")));
        vm.store(address(octroi), at, bytes32(word));
    }

    function refund(uint16 seq, uint256 amount) private {
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), seq, amount);
    }

    function notRefunded(uint16 seq, uint256 amount, bytes memory why) private {
        uint256 before = octroi.slotOf(subscriber, SERVICE);
        vm.expectRevert(why);
        refund(seq, amount);
        assertEq(octroi.slotOf(subscriber, SERVICE), before);
    }

    function payAs(string memory who, uint16 seq, Fields memory f) private {
        address us = subscriber;
        subscriber = makeAddr(who);
        token.mint(subscriber, f.paid);
        vm.prank(subscriber);
        token.approve(address(octroi), f.paid);
        f.seq = seq;
        pay(f);
        subscriber = us;
    }

    function refundAs(string memory who, uint16 seq, uint256 amount) private {
        vm.prank(refunder);
        octroi.refund(makeAddr(who), SERVICE, address(token), seq, amount);
    }

    function expectAccounts(uint256 escrow, uint256 earned, uint256 fees) private view {
        (uint256 a, uint256 b, uint256 c) = octroi.accounts(address(token));
        assertEq(a, escrow, "escrow");
        assertEq(b, earned, "earned");
        assertEq(c, fees, "fees");
        assertEq(octroi.liabilities(address(token)), escrow + earned + fees, "liabilities");
    }
}
