// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Fixture } from "./Fixture.sol";
import { Core } from "../src/Core.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";
import { SubscriptionManager } from "../src/SubscriptionManager.sol";

/// A quote is what was signed, to the bit, and pays once, whoever brings it.
contract QuotesTest is Fixture {
    struct Quote {
        address subscriber;
        bytes32 serviceId;
        address token;
        uint256 terms;
        bytes32 r;
        bytes32 vs;
    }

    function test_everySingleBitOfAQuoteCounts() public {
        uint16[6] memory bits = [160, 256, 160, 256, 256, 256];
        uint256 tried;
        for (uint256 field = 0; field < bits.length; field++) {
            for (uint256 bit = 0; bit < bits[field]; bit++) {
                Quote memory quote = good();
                uint256 flip = 1 << bit;
                if (field == 0) quote.subscriber = address(uint160(quote.subscriber) ^ uint160(flip));
                if (field == 1) quote.serviceId ^= bytes32(flip);
                if (field == 2) quote.token = address(uint160(quote.token) ^ uint160(flip));
                if (field == 3) quote.terms ^= flip;
                if (field == 4) quote.r ^= bytes32(flip);
                if (field == 5) quote.vs ^= bytes32(flip);
                refusedAsUnsigned(quote);
                tried++;
            }
        }
        assertEq(tried, 1344);
        Quote memory unchanged = good();
        vm.prank(subscriber);
        octroi.pay(unchanged.serviceId, unchanged.token, unchanged.terms, unchanged.r, unchanged.vs);
    }

    function testFuzz_whatWasNotSignedIsRefused(Quote memory quote) public {
        quote.serviceId = SERVICE;
        refusedAsUnsigned(quote);
    }

    function test_aQuoteOfAnotherChainOrContractIsRefused() public {
        Quote memory quote = good();
        vm.chainId(block.chainid + 1);
        refusedAsUnsigned(quote);
        vm.chainId(block.chainid - 1);
        address was = address(octroi);
        setUp();
        assertTrue(was != address(octroi));
        refusedAsUnsigned(Quote(subscriber, SERVICE, address(token), quote.terms, quote.r, quote.vs));
    }

    /// Whoever takes an authorization out of the mempool pays its quote with it, and nothing else.
    function test_anAuthorizationTakenFromTheMempoolPaysItsQuote() public {
        Quote memory quote = good();
        PaymentProcessor.Authorization memory a = authorizationOf(quote.terms, PRICE);
        bytes32 nonce = digest(quote);
        vm.startPrank(stranger);
        // The token takes it from the contract alone.
        vm.expectRevert();
        token.receiveWithAuthorization(
            subscriber, address(octroi), PRICE, a.validAfter, a.validBefore, nonce, a.v, a.r, a.s
        );
        vm.expectPartialRevert(Core.BadSigner.selector);
        octroi.payWithAuthorization(stranger, SERVICE, address(token), quote.terms, quote.r, quote.vs, a);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), quote.terms, quote.r, quote.vs, a);
        vm.stopPrank();
        assertEq(octroi.slotOf(subscriber, SERVICE), quote.terms);
        vm.expectRevert(abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 2));
        vm.prank(subscriber);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), quote.terms, quote.r, quote.vs, a);
    }

    function test_anAuthorizationIsSpentByItsQuoteEvenAfterARefund() public {
        Quote memory quote = good();
        PaymentProcessor.Authorization memory a = authorizationOf(quote.terms, PRICE);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), quote.terms, quote.r, quote.vs, a);
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), 1, PRICE);
        vm.expectRevert(abi.encodeWithSelector(SubscriptionManager.WrongSeq.selector, 3));
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), quote.terms, quote.r, quote.vs, a);
    }

    function test_aRefusedAuthorizationLeavesNoGrant() public {
        Quote memory quote = good();
        PaymentProcessor.Authorization memory a = authorizationOf(quote.terms, PRICE);
        vm.warp(a.validBefore);
        Fields memory f = month();
        quote.terms = pack(f);
        (quote.r, quote.vs) = sign(signerKey, quote.terms);
        vm.expectRevert();
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), quote.terms, quote.r, quote.vs, a);
        assertEq(octroi.slotOf(subscriber, SERVICE), 0);
    }

    function good() private view returns (Quote memory quote) {
        (quote.subscriber, quote.serviceId, quote.token) = (subscriber, SERVICE, address(token));
        quote.terms = pack(month());
        (quote.r, quote.vs) = sign(signerKey, quote.terms);
    }

    function digest(Quote memory quote) private view returns (bytes32) {
        return octroi.quoteDigest(quote.subscriber, quote.serviceId, quote.token, quote.terms);
    }

    function refusedAsUnsigned(Quote memory quote) private {
        vm.prank(quote.subscriber);
        (bool ok, bytes memory why) = address(octroi)
            .call(abi.encodeCall(octroi.pay, (quote.serviceId, quote.token, quote.terms, quote.r, quote.vs)));
        assertFalse(ok, "a changed quote was paid");
        assertEq(bytes4(why), Core.BadSigner.selector);
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
        bytes32 nonce = digestOf(subscriber, address(token), terms);
        bytes32 inner =
            keccak256(abi.encode(typehash, subscriber, octroi, value, 0, authorization.validBefore, nonce));
        bytes32 signed = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
        (authorization.v, authorization.r, authorization.s) = vm.sign(subscriberKey, signed);
    }
}
