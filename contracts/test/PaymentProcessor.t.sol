// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { SlotDerivation } from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import { CallbackToken, HollowToken, SilentToken, ToughToken } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { Core } from "../src/Core.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { LedgerLib } from "../src/Ledger.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";

contract PaymentProcessorTest is Fixture {
    event Paid(
        address indexed subscriber,
        bytes32 indexed serviceId,
        address indexed token,
        uint256 terms,
        uint256 amount
    );
    event TokenAdded(address indexed token, uint8 index);
    event TokenEnabled(address indexed token, bool enabled);
    event PayeeChanged(address indexed payee);
    event FeeChanged(uint16 feeBps, address indexed recipient);
    event Settled(address indexed token, uint256 earned, uint256 fee);
    event Withdrawn(address indexed token, address indexed payee, uint256 amount);
    event FeesWithdrawn(address indexed token, address indexed recipient, uint256 amount);
    event Rescued(address indexed token, address indexed to, uint256 amount);

    function test_payMovesWhatIsDueIntoEscrow() public {
        uint256 terms = pack(month());
        vm.expectEmit(address(octroi));
        emit Paid(subscriber, SERVICE, address(token), terms, PRICE);
        pay(month());
        assertEq(token.balanceOf(address(octroi)), PRICE);
        expectAccounts(PRICE, 0, 0);
    }

    function test_refusesUnknownAndDisabledTokens() public {
        Fields memory f = month();
        DevStablecoin listed = token;
        token = new DevStablecoin();
        refused(f, abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, address(token)));
        f.token = 0;
        refused(f, abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, address(token)));
        token = listed;
        f.token = 2;
        refused(f, abi.encodeWithSelector(PaymentProcessor.WrongTokenIndex.selector, 1));
        vm.expectEmit(address(octroi));
        emit TokenEnabled(address(token), false);
        vm.prank(admin);
        octroi.setTokenEnabled(address(token), false);
        f.token = 1;
        refused(f, abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, address(token)));
        vm.prank(admin);
        octroi.setTokenEnabled(address(token), true);
        pay(f);
    }

    function test_refusesWithoutAllowanceOrMoney() public {
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.startPrank(subscriber);
        token.approve(address(octroi), PRICE - 1);
        vm.expectRevert(
            abi.encodeWithSignature(
                "ERC20InsufficientAllowance(address,uint256,uint256)", octroi, PRICE - 1, PRICE
            )
        );
        octroi.pay(SERVICE, address(token), terms, r, vs);
        token.approve(address(octroi), PRICE);
        token.transfer(stranger, 1e15 - PRICE + 1);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientBalance(address,uint256,uint256)")));
        octroi.pay(SERVICE, address(token), terms, r, vs);
        assertEq(octroi.slotOf(subscriber, SERVICE), 0);
        expectAccounts(0, 0, 0);
    }

    function test_refusesATokenThatKeepsAPart() public {
        ToughToken tough = new ToughToken();
        list(address(tough));
        tough.mint(subscriber, PRICE);
        vm.prank(subscriber);
        tough.approve(address(octroi), PRICE);
        bytes memory why =
            abi.encodeWithSelector(PaymentProcessor.ShortTransfer.selector, PRICE - PRICE / 100, PRICE);
        Fields memory f = month();
        f.token = 2;
        token = DevStablecoin(address(tough));
        refused(f, why);
    }

    function test_takesATokenThatAnswersNothing() public {
        SilentToken silent = new SilentToken();
        list(address(silent));
        silent.mint(subscriber, PRICE);
        token = DevStablecoin(address(silent));
        Fields memory f = month();
        f.token = 2;
        pay(f);
        expectAccounts(PRICE, 0, 0);
    }

    function test_refusesToBeReentered() public {
        CallbackToken callback = new CallbackToken();
        list(address(callback));
        callback.mint(subscriber, PRICE);
        vm.prank(subscriber);
        callback.approve(address(octroi), PRICE);
        token = DevStablecoin(address(callback));
        Fields memory f = month();
        f.token = 2;
        bytes32 treasurer = octroi.TREASURER_ROLE();
        vm.startPrank(admin);
        octroi.grantRole(treasurer, address(callback));
        octroi.beginDefaultAdminTransfer(address(callback));
        vm.stopPrank();
        vm.warp(block.timestamp + 1);
        vm.prank(address(callback));
        octroi.acceptDefaultAdminTransfer();
        bytes[4] memory calls = [
            abi.encodeCall(octroi.pay, (SERVICE, address(callback), pack(f), 0, 0)),
            abi.encodeCall(octroi.withdraw, (address(callback))),
            abi.encodeCall(octroi.withdrawFees, (address(callback))),
            abi.encodeCall(octroi.rescue, (address(callback), stranger))
        ];
        uint256 state = vm.snapshotState();
        for (uint256 i = 0; i < calls.length; i++) {
            callback.arm(address(octroi), calls[i]);
            pay(f);
            assertEq(
                callback.answer(),
                abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
            );
            vm.revertToState(state);
        }
    }

    function test_permitPays() public {
        forgetAllowance();
        PaymentProcessor.Permit memory permit = permitOf(PRICE);
        payWithPermit(month(), permit);
        expectAccounts(PRICE, 0, 0);
    }

    function test_permitUsedBeforeIsTolerated() public {
        forgetAllowance();
        PaymentProcessor.Permit memory p = permitOf(PRICE);
        token.permit(subscriber, address(octroi), p.value, p.deadline, p.v, p.r, p.s);
        payWithPermit(month(), p);
        expectAccounts(PRICE, 0, 0);
    }

    function test_badPermitWithoutAllowanceIsRefused() public {
        forgetAllowance();
        PaymentProcessor.Permit memory p = permitOf(PRICE);
        p.value += 1;
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientAllowance(address,uint256,uint256)")));
        vm.prank(subscriber);
        octroi.payWithPermit(SERVICE, address(token), terms, r, vs, p);
    }

    function test_permitOfAnotherDoesNotPay() public {
        PaymentProcessor.Permit memory p = permitOf(PRICE);
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.expectPartialRevert(Core.BadSigner.selector);
        vm.prank(stranger);
        octroi.payWithPermit(SERVICE, address(token), terms, r, vs, p);
    }

    function test_permitOfAnUnknownTokenIsNotEvenCalled() public {
        DevStablecoin unknown = new DevStablecoin();
        PaymentProcessor.Permit memory p = permitOf(PRICE);
        vm.expectCall(address(unknown), "", 0);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, address(unknown)));
        vm.prank(subscriber);
        octroi.payWithPermit(SERVICE, address(unknown), pack(month()), 0, 0, p);
    }

    function test_authorizationPaysWhoeverSubmitsIt() public {
        forgetAllowance();
        uint256 terms = pack(month());
        vm.expectEmit(address(octroi));
        emit Paid(subscriber, SERVICE, address(token), terms, PRICE);
        payWithAuthorization(terms, authorizationOf(terms, PRICE));
        expectAccounts(PRICE, 0, 0);
        assertTrue(token.authorizationState(subscriber, digestOf(subscriber, address(token), terms)));
    }

    function test_authorizationOfAnotherAmountOrQuoteIsRefused() public {
        uint256 terms = pack(month());
        Fields memory other = month();
        other.plan += 1;
        PaymentProcessor.Authorization[2] memory bad =
            [authorizationOf(terms, PRICE - 1), authorizationOf(pack(other), PRICE)];
        for (uint256 i = 0; i < bad.length; i++) {
            (bytes32 r, bytes32 vs) = sign(signerKey, terms);
            vm.expectRevert(abi.encodeWithSignature("ERC3009InvalidSignature()"));
            vm.prank(stranger);
            octroi.payWithAuthorization(subscriber, SERVICE, address(token), terms, r, vs, bad[i]);
        }
    }

    function test_authorizationThatMovesNothingIsRefused() public {
        address hollow = address(new HollowToken());
        list(hollow);
        Fields memory f = month();
        f.token = 2;
        uint256 terms = pack(f);
        (bytes32 r, bytes32 vs) = vm.signCompact(signerKey, digestOf(subscriber, hollow, terms));
        PaymentProcessor.Authorization memory any;
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.ShortTransfer.selector, 0, PRICE));
        octroi.payWithAuthorization(subscriber, SERVICE, hollow, terms, r, vs, any);
        assertEq(octroi.slotOf(subscriber, SERVICE), 0);
    }

    function test_nothingDueStillNeedsTheAuthorization() public {
        Fields memory f = month();
        f.paid = 0;
        uint256 terms = pack(f);
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        PaymentProcessor.Authorization memory none;
        none.validBefore = type(uint256).max;
        vm.expectRevert();
        vm.prank(stranger);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), terms, r, vs, none);
        payWithAuthorization(terms, authorizationOf(terms, 0));
    }

    function test_pauseStopsEveryWayToPay() public {
        vm.prank(operator);
        octroi.pause();
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        PaymentProcessor.Permit memory permit = permitOf(PRICE);
        PaymentProcessor.Authorization memory authorization = authorizationOf(terms, PRICE);
        vm.expectRevert(Core.IsPaused.selector);
        vm.prank(subscriber);
        octroi.payWithPermit(SERVICE, address(token), terms, r, vs, permit);
        vm.expectRevert(Core.IsPaused.selector);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), terms, r, vs, authorization);
    }

    function test_escrowLastsAnEpochAtLeastAndTwoAtMost() public {
        uint256 epoch = octroi.ESCROW_EPOCH();
        uint256 border = (NOW / epoch + 1) * epoch;
        vm.warp(border - 1);
        pay(month());
        vm.warp(border + epoch - 1);
        expectAccounts(PRICE, 0, 0);
        vm.warp(border + epoch);
        expectAccounts(0, PRICE - PRICE / 40, PRICE / 40);
    }

    function test_escrowOfEachEpochLeavesInItsTurn() public {
        uint256 epoch = octroi.ESCROW_EPOCH();
        Fields memory f = month();
        pay(f);
        vm.warp(NOW + epoch);
        f = month();
        (f.seq, f.paid) = (2, 4 * PRICE);
        uint256 held = uint256(PRICE) * (MONTH - epoch) / MONTH;
        pay(f);
        uint256 second = 4 * PRICE - held;
        expectAccounts(PRICE + second, 0, 0);
        vm.warp(NOW + 2 * epoch);
        expectAccounts(second, PRICE - PRICE / 40, PRICE / 40);
        vm.warp(NOW + 3 * epoch);
        uint256 cut = (PRICE + second) / 40;
        expectAccounts(0, PRICE + second - cut, cut);
    }

    function test_withdrawalsGoToTheirOwners() public {
        pay(month());
        vm.warp(NOW + 21 days);
        uint256 cut = PRICE / 40;
        vm.expectEmit(address(octroi));
        emit Settled(address(token), PRICE - cut, cut);
        vm.expectEmit(address(octroi));
        emit Withdrawn(address(token), payee, PRICE - cut);
        vm.prank(payee);
        octroi.withdraw(address(token));
        vm.expectEmit(address(octroi));
        emit FeesWithdrawn(address(token), feeRecipient, cut);
        vm.prank(admin);
        octroi.withdrawFees(address(token));
        assertEq(token.balanceOf(payee), PRICE - cut);
        assertEq(token.balanceOf(feeRecipient), cut);
        assertEq(token.balanceOf(address(octroi)), 0);
        expectAccounts(0, 0, 0);
    }

    function test_nothingIsWithdrawnFromEscrow() public {
        pay(month());
        vm.startPrank(admin);
        vm.expectRevert(PaymentProcessor.NothingToWithdraw.selector);
        octroi.withdraw(address(token));
        vm.expectRevert(PaymentProcessor.NothingToWithdraw.selector);
        octroi.withdrawFees(address(token));
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, stranger));
        octroi.withdraw(stranger);
    }

    function test_withdrawalNeedsItsRole() public {
        bytes32 role = octroi.TREASURER_ROLE();
        vm.startPrank(subscriber);
        vm.expectRevert(missingRole(subscriber, role));
        octroi.withdraw(address(token));
        vm.expectRevert(missingRole(subscriber, role));
        octroi.withdrawFees(address(token));
        vm.expectRevert(missingRole(subscriber, 0));
        octroi.rescue(address(token), subscriber);
    }

    function test_aNewFeeSparesWhatHasLeftEscrow() public {
        pay(month());
        vm.warp(NOW + 21 days);
        vm.expectEmit(address(octroi));
        emit FeeChanged(2000, stranger);
        vm.prank(admin);
        octroi.setFee(2000, stranger);
        expectAccounts(0, PRICE - PRICE / 40, PRICE / 40);
        (uint16 bps, address recipient) = octroi.fee();
        assertEq(bps, 2000);
        assertEq(recipient, stranger);
    }

    function test_rescueLeavesWhatIsOwed() public {
        pay(month());
        vm.startPrank(admin);
        vm.expectRevert(PaymentProcessor.NothingToWithdraw.selector);
        octroi.rescue(address(token), stranger);
        token.mint(address(octroi), 77);
        vm.expectRevert(Core.ZeroAddress.selector);
        octroi.rescue(address(token), address(0));
        vm.expectEmit(address(octroi));
        emit Rescued(address(token), stranger, 77);
        octroi.rescue(address(token), stranger);
        assertEq(token.balanceOf(stranger), 77);
        assertEq(token.balanceOf(address(octroi)), PRICE);
        vm.warp(NOW + 21 days);
        vm.expectRevert(PaymentProcessor.NothingToWithdraw.selector);
        octroi.rescue(address(token), stranger);
        DevStablecoin unlisted = new DevStablecoin();
        unlisted.mint(address(octroi), 5);
        octroi.rescue(address(unlisted), stranger);
        assertEq(unlisted.balanceOf(stranger), 5);
    }

    function test_tokenTable() public {
        assertEq(octroi.tokenCount(), 1);
        assertEq(octroi.tokenAt(0), address(0));
        assertEq(octroi.tokenAt(1), address(token));
        assertEq(octroi.tokenAt(2), address(0));
        DevStablecoin second = new DevStablecoin();
        vm.expectEmit(address(octroi));
        emit TokenAdded(address(second), 2);
        vm.startPrank(admin);
        assertEq(octroi.addToken(address(second)), 2);
        (uint8 index, bool enabled) = octroi.tokenInfo(address(second));
        assertEq(index, 2);
        assertTrue(enabled);
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.TokenListed.selector, address(second)));
        octroi.addToken(address(second));
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, stranger));
        octroi.addToken(stranger);
        vm.expectRevert(Core.ZeroAddress.selector);
        octroi.addToken(address(0));
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.UnknownToken.selector, stranger));
        octroi.setTokenEnabled(stranger, true);
    }

    function test_tokenTableEndsBelowTheRevocationBit() public {
        vm.startPrank(admin);
        for (uint256 i = 2; i <= 127; i++) {
            octroi.addToken(address(new SilentToken()));
        }
        address more = address(new SilentToken());
        vm.expectRevert(PaymentProcessor.TooManyTokens.selector);
        octroi.addToken(more);
    }

    function test_settingsNeedTheAdminAndAreChecked() public {
        bytes memory why = missingRole(operator, 0);
        vm.startPrank(operator);
        vm.expectRevert(why);
        octroi.addToken(address(token));
        vm.expectRevert(why);
        octroi.setTokenEnabled(address(token), false);
        vm.expectRevert(why);
        octroi.setPayee(operator);
        vm.expectRevert(why);
        octroi.setFee(0, operator);
        vm.stopPrank();
        vm.startPrank(admin);
        vm.expectRevert(Core.ZeroAddress.selector);
        octroi.setPayee(address(0));
        vm.expectRevert(Core.ZeroAddress.selector);
        octroi.setFee(0, address(0));
        vm.expectRevert(abi.encodeWithSelector(PaymentProcessor.FeeTooHigh.selector, 2001));
        octroi.setFee(2001, feeRecipient);
        vm.expectEmit(address(octroi));
        emit PayeeChanged(stranger);
        octroi.setPayee(stranger);
        assertEq(octroi.payee(), stranger);
    }

    /// The largest sum that an escrow field holds is refused beyond, never wrapped.
    function test_escrowOverflowIsRefused() public {
        bytes32 slot = keccak256(abi.encode(address(token), SlotDerivation.erc7201Slot("octroi.payments")));
        uint256 ledger = uint256(vm.load(address(octroi), slot));
        vm.store(address(octroi), slot, bytes32(ledger | uint256(type(uint72).max) << 40));
        (uint256 escrow,,) = octroi.accounts(address(token));
        assertEq(escrow, type(uint72).max);
        refused(month(), abi.encodeWithSelector(LedgerLib.LedgerFull.selector));
    }

    function expectAccounts(uint256 escrow, uint256 earned, uint256 fees) private view {
        (uint256 a, uint256 b, uint256 c) = octroi.accounts(address(token));
        assertEq(a, escrow, "escrow");
        assertEq(b, earned, "earned");
        assertEq(c, fees, "fees");
        assertEq(octroi.liabilities(address(token)), escrow + earned + fees, "liabilities");
    }

    function list(address another) private {
        vm.prank(admin);
        octroi.addToken(another);
    }

    function forgetAllowance() private {
        vm.prank(subscriber);
        token.approve(address(octroi), 0);
    }

    function permitOf(uint256 value) private view returns (PaymentProcessor.Permit memory permit) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        permit.value = value;
        permit.deadline = block.timestamp + 1 hours;
        bytes32 inner = keccak256(
            abi.encode(typehash, subscriber, octroi, value, token.nonces(subscriber), permit.deadline)
        );
        (permit.v, permit.r, permit.s) = vm.sign(subscriberKey, tokenDigest(inner));
    }

    function authorizationOf(uint256 terms, uint256 value)
        private
        view
        returns (PaymentProcessor.Authorization memory authorization)
    {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        authorization.validBefore = block.timestamp + 1 hours;
        bytes32 inner = keccak256(
            abi.encode(
                typehash,
                subscriber,
                octroi,
                value,
                0,
                authorization.validBefore,
                digestOf(subscriber, address(token), terms)
            )
        );
        (authorization.v, authorization.r, authorization.s) = vm.sign(subscriberKey, tokenDigest(inner));
    }

    function tokenDigest(bytes32 inner) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
    }

    function payWithPermit(Fields memory f, PaymentProcessor.Permit memory permit) private {
        uint256 terms = pack(f);
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.prank(subscriber);
        octroi.payWithPermit(SERVICE, address(token), terms, r, vs, permit);
    }

    function payWithAuthorization(uint256 terms, PaymentProcessor.Authorization memory authorization)
        private
    {
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.prank(stranger);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), terms, r, vs, authorization);
    }
}
