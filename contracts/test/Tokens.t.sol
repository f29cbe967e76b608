// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { CallbackToken, MoodyToken } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { LedgerLib } from "../src/Ledger.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";

/// Tokens that misbehave: whatever one does, a payment, a refund and a withdrawal happen whole or not at all,
/// and other tokens go on.
contract TokensTest is Fixture {
    MoodyToken private moody;
    DevStablecoin private good;

    function setUp() public override {
        super.setUp();
        good = token;
        moody = new MoodyToken();
        moody.mint(subscriber, 10 * PRICE);
        vm.prank(subscriber);
        moody.approve(address(octroi), type(uint256).max);
        vm.prank(admin);
        octroi.addToken(address(moody));
    }

    function test_theDevelopmentDollarCountsInMillionths() public view {
        assertEq(good.decimals(), 6);
    }

    function test_aTokenThatIsPausedStopsOnlyItself() public {
        everythingIsRefused(MoodyToken.Mood.Paused, address(0), bytes("paused"));
        pay(month());
    }

    function test_aTokenThatShunsTheContractStopsOnlyItself() public {
        everythingIsRefused(MoodyToken.Mood.Blacklisting, address(octroi), bytes("blacklisted"));
        pay(month());
    }

    function test_aTokenThatAnswersFalseMovesNothing() public {
        everythingIsRefused(MoodyToken.Mood.Lying, address(0), "");
        pay(month());
    }

    /// A subscriber who is shunned cannot be sent a refund; the payment stays refundable, others' are refunded.
    function test_aShunnedSubscriberIsRefundedOnceNoLonger() public {
        payMoody(1);
        address us = subscriber;
        subscriber = makeAddr("another");
        moody.mint(subscriber, PRICE);
        vm.prank(subscriber);
        moody.approve(address(octroi), PRICE);
        payMoody(1);
        moody.feel(MoodyToken.Mood.Blacklisting, us);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(moody), 1, PRICE);
        subscriber = us;
        uint256 slot = octroi.slotOf(us, SERVICE);
        vm.expectRevert("blacklisted");
        vm.prank(refunder);
        octroi.refund(us, SERVICE, address(moody), 1, PRICE);
        assertEq(octroi.slotOf(us, SERVICE), slot);
        assertEq(octroi.liabilities(address(moody)), PRICE);
        moody.feel(MoodyToken.Mood.Good, address(0));
        vm.prank(refunder);
        octroi.refund(us, SERVICE, address(moody), 1, PRICE);
        assertEq(octroi.liabilities(address(moody)), 0);
    }

    /// An answer of 100 KB costs the token's caller memory only if it is copied.
    function test_aFloodOfAnAnswerIsNotCopied() public {
        moody.feel(MoodyToken.Mood.Flooding, address(0));
        uint256 gas = gasleft();
        payMoody(1);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(moody), 1, PRICE);
        assertLt(gas - gasleft(), 400_000);
        assertEq(octroi.liabilities(address(moody)), 0);
    }

    function test_aPermitThatFloodsIsTolerated() public {
        moody.feel(MoodyToken.Mood.Flooding, address(0));
        Fields memory f = month();
        f.token = 2;
        uint256 terms = pack(f);
        PaymentProcessor.Permit memory permit;
        (bytes32 r, bytes32 vs) = vm.signCompact(signerKey, digestOf(subscriber, address(moody), terms));
        vm.prank(subscriber);
        octroi.payWithPermit{ gas: 300_000 }(SERVICE, address(moody), terms, r, vs, permit);
        assertEq(octroi.slotOf(subscriber, SERVICE), terms);
    }

    /// A token of 18 decimals fills the 72 bits of a ledger with 4,722 coins. Paying is refused then, and
    /// withdrawing never is: it makes the room.
    function test_aLedgerThatIsFullRefusesPaymentsAndNothingElse() public {
        uint64 most = type(uint64).max;
        Fields memory f = month();
        f.token = 2;
        f.paid = most;
        token = DevStablecoin(address(moody));
        moody.mint(address(this), type(uint128).max);
        for (uint256 i = 0; i < 256; i++) {
            if (i % 100 == 99) {
                vm.warp(block.timestamp + 7 days);
                (f.start, f.expiry, f.validUntil) = (month().start, month().expiry, month().validUntil);
            }
            newcomer(most);
            pay(f);
        }
        newcomer(most);
        refused(f, abi.encodeWithSelector(LedgerLib.LedgerFull.selector));
        vm.warp(block.timestamp + 21 days);
        (f.start, f.expiry, f.validUntil) = (month().start, month().expiry, month().validUntil);
        refused(f, abi.encodeWithSelector(LedgerLib.LedgerFull.selector));
        uint256 fees = uint256(most) * 256 / 40;
        vm.prank(payee);
        octroi.withdraw(address(moody));
        assertEq(moody.balanceOf(payee), uint256(most) * 256 - fees);
        pay(f);
    }

    function test_reentranceByPermitOrAuthorizationIsRefused() public {
        CallbackToken callback = new CallbackToken();
        callback.mint(subscriber, 2 * PRICE);
        vm.prank(admin);
        octroi.addToken(address(callback));
        Fields memory f = month();
        f.token = 3;
        uint256 terms = pack(f);
        (bytes32 r, bytes32 vs) = vm.signCompact(signerKey, digestOf(subscriber, address(callback), terms));
        PaymentProcessor.Permit memory permit;
        permit.value = PRICE;
        PaymentProcessor.Authorization memory authorization;
        callback.arm(
            address(octroi),
            abi.encodeCall(
                octroi.payWithAuthorization,
                (subscriber, SERVICE, address(callback), terms, r, vs, authorization)
            )
        );
        bytes memory why =
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        uint256 state = vm.snapshotState();
        vm.prank(subscriber);
        octroi.payWithPermit(SERVICE, address(callback), terms, r, vs, permit);
        assertEq(callback.answer(), why);
        vm.revertToState(state);
        octroi.payWithAuthorization(subscriber, SERVICE, address(callback), terms, r, vs, authorization);
        assertEq(callback.answer(), why);
    }

    function test_reentranceByARefundIsRefused() public {
        CallbackToken callback = new CallbackToken();
        callback.mint(subscriber, PRICE);
        callback.mint(address(octroi), 10);
        bytes32 role = octroi.REFUNDER_ROLE();
        vm.startPrank(admin);
        octroi.addToken(address(callback));
        octroi.grantRole(role, address(callback));
        vm.stopPrank();
        vm.prank(subscriber);
        callback.approve(address(octroi), PRICE);
        token = DevStablecoin(address(callback));
        Fields memory f = month();
        f.token = 3;
        pay(f);
        bytes memory why =
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        bytes[2] memory calls = [
            abi.encodeCall(octroi.refund, (subscriber, SERVICE, address(callback), 1, PRICE)),
            abi.encodeCall(octroi.refundTransfer, (bytes32(0), address(callback), stranger, 10))
        ];
        callback.arm(address(octroi), calls[1]);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(callback), 1, PRICE);
        assertEq(callback.answer(), why);
        callback.arm(address(octroi), calls[0]);
        vm.prank(refunder);
        octroi.refundTransfer(bytes32(0), address(callback), stranger, 10);
        assertEq(callback.answer(), why);
    }

    function everythingIsRefused(MoodyToken.Mood mood, address shunned, bytes memory says) private {
        token = DevStablecoin(address(moody));
        payMoody(1);
        vm.warp(block.timestamp + 35 days);
        payMoody(2);
        moody.mint(address(octroi), 5);
        moody.feel(mood, shunned);
        bytes memory why = says.length == 0
            ? abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(moody))
            : abi.encodeWithSignature("Error(string)", says);
        uint256 owed = octroi.liabilities(address(moody));
        uint256 slot = octroi.slotOf(subscriber, SERVICE);
        Fields memory f = month();
        (f.token, f.seq, f.paid) = (2, 3, 9 * PRICE);
        refused(f, why);
        vm.expectRevert(why);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(moody), 2, PRICE);
        vm.expectRevert(why);
        vm.prank(refunder);
        octroi.refundTransfer(keccak256("id"), address(moody), stranger, 5);
        assertFalse(octroi.isTransferRefunded(keccak256("id")));
        vm.startPrank(admin);
        vm.expectRevert(why);
        octroi.withdraw(address(moody));
        vm.expectRevert(why);
        octroi.withdrawFees(address(moody));
        vm.expectRevert(why);
        octroi.rescue(address(moody), stranger);
        vm.stopPrank();
        assertEq(octroi.liabilities(address(moody)), owed);
        assertEq(octroi.slotOf(subscriber, SERVICE), slot);
        moody.feel(MoodyToken.Mood.Good, address(0));
        vm.prank(admin);
        octroi.withdraw(address(moody));
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(moody), 2, PRICE);
        (token, subscriber) = (good, stranger);
        good.mint(stranger, PRICE);
        vm.prank(stranger);
        good.approve(address(octroi), PRICE);
    }

    function payMoody(uint16 seq) private {
        DevStablecoin was = token;
        token = DevStablecoin(address(moody));
        Fields memory f = month();
        (f.token, f.seq) = (2, seq);
        pay(f);
        token = was;
    }

    function newcomer(uint256 money) private {
        subscriber = address(uint160(subscriber) + 1);
        moody.transfer(subscriber, money);
        vm.prank(subscriber);
        moody.approve(address(octroi), money);
    }
}
