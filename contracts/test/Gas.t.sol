// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { OctroiProxy } from "../src/OctroiProxy.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";
import { ERC1967Proxy } from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// Gas of whole transactions, as a receipt gives it: each call is isolated, with cold storage and base cost.
/// The figures are compared with snapshots/GasTest.json.
/// forge-config: default.isolate = true
contract GasTest is Fixture {
    uint256 private constant PROMISE = 100_000;

    function setUp() public override {
        super.setUp();
        // Others have paid before, as on any day but the first.
        subscriber = stranger;
        token.mint(stranger, PRICE);
        vm.prank(stranger);
        token.approve(address(octroi), PRICE);
        pay(month());
        (subscriber, subscriberKey) = makeAddrAndKey("subscriber");
    }

    function test_newSubscription() public {
        measure("new subscription", month());
    }

    function test_newSubscriptionWithAFiniteAllowance() public {
        vm.prank(subscriber);
        token.approve(address(octroi), 2 * PRICE);
        measure("new subscription, finite allowance", month());
    }

    function test_newSubscriptionWithAProxiedToken() public {
        measure("new subscription, finite allowance, proxied token", proxied());
    }

    function test_firstPaymentOfAnEpoch() public {
        vm.warp(NOW + 7 days);
        measure("new subscription, first of an epoch", month());
    }

    function test_renewal() public {
        Fields memory f = month();
        pay(f);
        f.expiry += MONTH;
        f.paid += PRICE;
        f.seq = 2;
        measure("renewal", f);
    }

    /// The dearest: the first payment that carries something over writes a second word. It is not promised.
    function test_firstRenewalWithAProxiedToken() public {
        Fields memory f = proxied();
        pay(f);
        (f.seq, f.expiry, f.paid) = (2, f.expiry + MONTH, 2 * PRICE);
        spend("renewal, the first, finite allowance, proxied token", f);
    }

    function test_laterRenewalWithAProxiedToken() public {
        Fields memory f = proxied();
        pay(f);
        (f.seq, f.expiry, f.paid) = (2, f.expiry + MONTH, 2 * PRICE);
        pay(f);
        (f.seq, f.expiry, f.paid) = (3, f.expiry + MONTH, 3 * PRICE);
        spend("renewal, a later one, finite allowance, proxied token", f);
    }

    function test_upgrade() public {
        pay(month());
        vm.warp(NOW + 1 hours);
        Fields memory f = month();
        f.paid *= 3;
        f.plan = 4;
        f.seq = 2;
        measure("upgrade", f);
    }

    function test_permit() public {
        vm.prank(subscriber);
        token.approve(address(octroi), 0);
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        PaymentProcessor.Permit memory permit;
        (permit.value, permit.deadline) = (PRICE, block.timestamp + 1 hours);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        (permit.v, permit.r, permit.s) = vm.sign(
            subscriberKey, tokenDigest(abi.encode(typehash, subscriber, octroi, PRICE, 0, permit.deadline))
        );
        vm.prank(subscriber);
        octroi.payWithPermit(SERVICE, address(token), terms, r, vs, permit);
        vm.snapshotGasLastCall("new subscription by permit");
    }

    function test_authorization() public {
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        PaymentProcessor.Authorization memory a;
        a.validBefore = block.timestamp + 1 hours;
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 nonce = digestOf(subscriber, address(token), terms);
        (a.v, a.r, a.s) = vm.sign(
            subscriberKey,
            tokenDigest(abi.encode(typehash, subscriber, octroi, PRICE, 0, a.validBefore, nonce))
        );
        vm.prank(stranger);
        octroi.payWithAuthorization(subscriber, SERVICE, address(token), terms, r, vs, a);
        vm.snapshotGasLastCall("new subscription by EIP-3009");
    }

    function test_refund() public {
        pay(month());
        vm.prank(refunder);
        octroi.refund(subscriber, SERVICE, address(token), 1, PRICE);
        vm.snapshotGasLastCall("refund");
    }

    function test_refundOfATransfer() public {
        token.mint(address(octroi), 5);
        vm.prank(refunder);
        octroi.refundTransfer(keccak256("id"), address(token), subscriber, 5);
        vm.snapshotGasLastCall("refund of a transfer");
    }

    function test_withdrawal() public {
        vm.warp(NOW + 21 days);
        vm.prank(payee);
        octroi.withdraw(address(token));
        vm.snapshotGasLastCall("withdrawal, settling");
    }

    function test_revocation() public {
        pay(month());
        vm.prank(operator);
        octroi.setRevoked(subscriber, SERVICE, true);
        vm.snapshotGasLastCall("revocation");
    }

    function tokenDigest(bytes memory what) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), keccak256(what)));
    }

    /// A new subscription in a token behind a proxy, with an allowance that is counted down.
    function proxied() private returns (Fields memory f) {
        token =
            DevStablecoin(address(new ERC1967Proxy(address(token), abi.encodeWithSignature("decimals()"))));
        token.mint(subscriber, 4 * PRICE);
        vm.prank(admin);
        octroi.addToken(address(token));
        vm.prank(subscriber);
        token.approve(address(octroi), 4 * PRICE);
        f = month();
        f.token = 2;
        // The contract holds some of the token already.
        token.mint(address(octroi), 1);
    }

    function measure(string memory name, Fields memory f) private {
        assertLt(spend(name, f), PROMISE);
    }

    function spend(string memory name, Fields memory f) private returns (uint256) {
        uint256 terms = pack(f);
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms, r, vs);
        return vm.snapshotGasLastCall(name);
    }
}
