// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { CallbackToken, ToughToken } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";
import { Terms } from "../src/Terms.sol";

/// Grants that carry earlier payments over: a refund of one takes nothing of escrow but what the grant's own
/// payments have there, so that everybody else's refund stays covered; what it lacks, a top-up gives.
contract StakesTest is Fixture {
    event ToppedUp(address indexed token, address indexed from, uint256 amount);

    function test_aRefundOfARenewedGrantLeavesTheEscrowOfOthers() public {
        vm.warp(epochStart(1));
        Fields memory f = long();
        f.paid = 10 * PRICE;
        pay(f);
        vm.warp(epochStart(3));
        withdrawAll();
        payAs("another", month());
        f.seq = 2;
        f.paid += PRICE;
        f.validUntil = month().validUntil;
        pay(f);
        // Ten were carried over and are long gone. The one that is there besides this grant's own is another's.
        notRefunded(2, 11 * PRICE, 10 * PRICE);
        uint256 held = Terms.wrap(octroi.slotOf(subscriber, SERVICE)).unused(block.timestamp);
        notRefunded(2, held, held - PRICE);
        refundAs("another", 1, PRICE);
        assertEq(token.balanceOf(address(octroi)), PRICE);
    }

    function test_anUpgradeInTheSameWeeksIsRefundedOutOfBothPayments() public {
        vm.warp(epochStart(1) + 2 days);
        pay(month());
        vm.warp(epochStart(2) + 1 days);
        payAs("another", month());
        Fields memory f = month();
        (f.seq, f.paid) = (2, 3 * PRICE);
        uint256 before = token.balanceOf(subscriber);
        pay(f);
        assertEq(before - token.balanceOf(subscriber), 3 * PRICE - uint256(PRICE) * 24 / 30);
        refund(2, 3 * PRICE);
        refundAs("another", 1, PRICE);
    }

    /// What was paid in the epoch before the last is nobody's own any more, what was paid later still is.
    function test_aStakeLeavesEscrowWithItsPayment() public {
        vm.warp(epochStart(1));
        Fields memory f = long();
        pay(f); // leaves escrow at epochStart(3)
        vm.warp(epochStart(2));
        f = renewed(f, 1);
        pay(f); // at epochStart(4)
        vm.warp(epochStart(3) - 1 hours);
        f = renewed(f, 1);
        pay(f); // at epochStart(4)
        vm.warp(epochStart(3));
        payAs("another", month());
        refundsAtMost(f, 3 * PRICE, 3); // the first is unsplit, the others its own
        withdrawAll();
        refundsAtMost(f, 3 * PRICE, 2);
        f = renewed(f, 1);
        pay(f); // at epochStart(5)
        refundsAtMost(f, 4 * PRICE, 3);
        refundAs("another", 1, PRICE);
        vm.warp(epochStart(4) - 1 hours);
        f = renewed(f, 1);
        pay(f); // at epochStart(5)
        payAs("a third", month());
        vm.warp(epochStart(4));
        withdrawAll();
        refundsAtMost(f, 5 * PRICE, 2);
        refundAs("a third", 1, PRICE);
    }

    function test_aGrantPaidAnewAfterItsEndCarriesNothingOver() public {
        Fields memory f = month();
        f.expiry = f.start + 1 hours;
        pay(f);
        f = renewed(f, 1);
        pay(f); // carries one over, which is written down
        vm.warp(NOW + 2 hours);
        f = month();
        f.seq = 3;
        pay(f);
        payAs("another", month());
        refund(3, PRICE);
        refundAs("another", 1, PRICE);
        assertEq(token.balanceOf(address(octroi)), 2 * PRICE);
    }

    function test_aGrantPaidInAnotherTokenCarriesNothingOver() public {
        Fields memory f = month();
        pay(f);
        f = renewed(f, 1);
        pay(f);
        f = month();
        f.token = useSecondToken();
        f.seq = 3;
        pay(f);
        refund(3, PRICE);
        assertEq(token.balanceOf(address(octroi)), 0);
    }

    /// However often a grant is paid and whenever: its last payment is refundable to the end of its window, out
    /// of its own, though everything that may be withdrawn is.
    function testFuzz_theLastPaymentIsCoveredThroughItsWindow(uint32[4] memory pauses, uint16 validFor)
        public
    {
        vm.warp(epochStart(1) + pauses[0] % 14 days);
        Fields memory f = long();
        f.paid = 0;
        uint256 until;
        for (uint16 i = 1; i <= 4; i++) {
            f.seq = i;
            uint256 held = i == 1 ? 0 : Terms.wrap(octroi.slotOf(subscriber, SERVICE)).unused(block.timestamp);
            f.start = uint32(block.timestamp);
            f.paid = uint64(held) + PRICE;
            f.validUntil = minute(block.timestamp + bound(validFor, 0, 1 days - 60));
            until = Terms.wrap(pay(f)).payableBefore() + octroi.REFUND_WINDOW();
            Fields memory other = month();
            other.validUntil = f.validUntil;
            payAs(string.concat("another ", vm.toString(i)), other);
            if (i < 4) vm.warp(block.timestamp + pauses[i] % 10 days);
        }
        vm.warp(until - 1);
        withdrawAll();
        (uint256 escrow,,) = octroi.accounts(address(token));
        uint256 owed = Terms.wrap(octroi.slotOf(subscriber, SERVICE)).unused(block.timestamp);
        vm.prank(refunder);
        try octroi.refund(subscriber, SERVICE, address(token), 4, owed > PRICE ? owed : PRICE) { }
        catch (bytes memory why) {
            assertEq(bytes4(why), PaymentProcessor.NotCovered.selector);
            assertGt(owed, PRICE, "the last payment itself was not covered");
            topUp(owed - PRICE);
            refund(4, owed);
        }
        (uint256 left,,) = octroi.accounts(address(token));
        assertLe(escrow - left, owed > PRICE ? owed : PRICE);
        // So is the other who paid at the same time.
        refundAs("another 4", 1, PRICE);
    }

    function test_aTopUpCoversWhatIsMissing() public {
        vm.warp(epochStart(1));
        Fields memory f = long();
        pay(f);
        vm.warp(epochStart(3));
        withdrawAll();
        payAs("another", month());
        f = renewed(f, 1);
        pay(f);
        notRefunded(2, 2 * PRICE, PRICE);
        topUp(PRICE - 1);
        notRefunded(2, 2 * PRICE, 1);
        token.mint(stranger, 1);
        vm.startPrank(stranger);
        token.approve(address(octroi), 1);
        vm.expectEmit(address(octroi));
        emit ToppedUp(address(token), stranger, 1);
        octroi.topUp(address(token), 1);
        vm.stopPrank();
        (, uint256 earned,) = octroi.accounts(address(token));
        assertEq(earned, PRICE);
        refund(2, 2 * PRICE);
        refundAs("another", 1, PRICE);
        assertEq(octroi.liabilities(address(token)), 0);
    }

    function test_aTopUpIsOfAListedTokenAndMustArrive() public {
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, stranger));
        octroi.topUp(stranger, 1);
        vm.expectRevert();
        octroi.topUp(address(token), 1); // no allowance
        ToughToken tough = new ToughToken();
        vm.prank(admin);
        octroi.addToken(address(tough));
        tough.mint(address(this), 1000);
        tough.approve(address(octroi), 1000);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.ShortTransfer.selector, 990, 1000));
        octroi.topUp(address(tough), 1000);
        assertEq(octroi.liabilities(address(tough)), 0);
    }

    function test_aTopUpIsTakenWhilePausedAndOfATokenThatIsStopped() public {
        vm.prank(operator);
        octroi.pause();
        vm.prank(admin);
        octroi.setTokenEnabled(address(token), false);
        topUp(5);
        assertEq(octroi.liabilities(address(token)), 5);
    }

    function test_reentranceByATopUpIsRefused() public {
        CallbackToken callback = new CallbackToken();
        vm.prank(admin);
        octroi.addToken(address(callback));
        callback.mint(address(this), 2);
        callback.approve(address(octroi), 2);
        callback.arm(address(octroi), abi.encodeCall(octroi.topUp, (address(callback), 1)));
        octroi.topUp(address(callback), 1);
        assertEq(
            callback.answer(),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
        assertEq(octroi.liabilities(address(callback)), 1);
    }

    function epochStart(uint256 n) private view returns (uint256) {
        uint256 epoch = octroi.ESCROW_EPOCH();
        return (NOW / epoch + n) * epoch;
    }

    function long() private view returns (Fields memory f) {
        f = month();
        f.expiry = f.start + 300 days;
    }

    /// The next payment on a grant that keeps its start, so that all of it is carried over.
    function renewed(Fields memory f, uint64 prices) private view returns (Fields memory) {
        f.seq += 1;
        f.paid += prices * PRICE;
        f.validUntil = month().validUntil;
        return f;
    }

    function withdrawAll() private {
        (, uint256 earned,) = octroi.accounts(address(token));
        if (earned == 0) return;
        vm.startPrank(admin);
        octroi.withdraw(address(token));
        octroi.withdrawFees(address(token));
        vm.stopPrank();
    }

    function topUp(uint256 amount) private {
        token.mint(address(this), amount);
        token.approve(address(octroi), amount);
        octroi.topUp(address(token), uint72(amount));
    }

    function refund(uint16 seq, uint256 amount) private {
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), seq, amount);
    }

    function notRefunded(uint16 seq, uint256 amount, uint256 missing) private {
        uint256 before = octroi.slotOf(subscriber, SERVICE);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.NotCovered.selector, missing));
        refund(seq, amount);
        assertEq(octroi.slotOf(subscriber, SERVICE), before);
    }

    /// All of what `f` was paid for is asked back, and as many prices are there for it.
    function refundsAtMost(Fields memory f, uint256 amount, uint256 prices) private {
        assertEq(amount, f.paid);
        uint256 state = vm.snapshotState();
        if (amount > prices * PRICE) {
            notRefunded(f.seq, amount, amount - prices * PRICE);
            topUp(amount - prices * PRICE);
        }
        refund(f.seq, amount);
        vm.revertToState(state);
    }

    function payAs(string memory who, Fields memory f) private {
        address us = subscriber;
        subscriber = makeAddr(who);
        token.mint(subscriber, f.paid);
        vm.prank(subscriber);
        token.approve(address(octroi), f.paid);
        pay(f);
        subscriber = us;
    }

    function refundAs(string memory who, uint16 seq, uint256 amount) private {
        vm.prank(refunder);
        octroi.refund(makeAddr(who), SERVICE, address(token), seq, amount);
    }
}
