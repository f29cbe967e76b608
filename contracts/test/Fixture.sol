// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "forge-std/Test.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { OctroiProxy } from "../src/OctroiProxy.sol";
import { TermsLib } from "../src/Terms.sol";

/// A deployed contract with one token, a quote signer and a subscriber with money.
abstract contract Fixture is Test {
    struct Fields {
        uint32 start;
        uint32 expiry;
        uint64 paid;
        uint16 plan;
        uint16 rate;
        uint16 bandwidth;
        uint32 quota;
        uint16 seq;
        uint8 token;
        uint24 validUntil;
    }

    uint256 internal constant NOW = 1_795_000_000;
    uint32 internal constant MONTH = 30 days;
    uint64 internal constant PRICE = 10_000_000;
    bytes32 internal constant SERVICE = keccak256("api");

    address internal admin = makeAddr("admin");
    address internal payee = makeAddr("payee");
    address internal operator = makeAddr("operator");
    address internal feeRecipient = makeAddr("fee recipient");
    address internal stranger = makeAddr("stranger");
    address internal refunder = makeAddr("refunder");
    address internal receiptSigner;
    uint256 internal receiptKey;
    address internal signer;
    uint256 internal signerKey;
    address internal subscriber;
    uint256 internal subscriberKey;

    DevStablecoin internal token;
    Octroi internal octroi;

    function setUp() public virtual {
        vm.warp(NOW);
        (signer, signerKey) = makeAddrAndKey("signer");
        (subscriber, subscriberKey) = makeAddrAndKey("subscriber");
        (receiptSigner, receiptKey) = makeAddrAndKey("receipt signer");
        token = new DevStablecoin();
        octroi = Octroi(address(new OctroiProxy(address(new Octroi()), initializer(setup()))));
        token.mint(subscriber, 1e15);
        vm.prank(subscriber);
        token.approve(address(octroi), type(uint256).max);
    }

    function setup() internal view returns (Octroi.Setup memory s) {
        s.admin = admin;
        s.signer = signer;
        s.payee = payee;
        s.operator = operator;
        s.feeRecipient = feeRecipient;
        s.feeBps = 250;
        s.tokens = new address[](1);
        s.tokens[0] = address(token);
        s.refunder = refunder;
        s.receiptSigner = receiptSigner;
    }

    function initializer(Octroi.Setup memory s) internal pure returns (bytes memory) {
        return abi.encodeCall(Octroi.initialize, (s));
    }

    function month() internal view returns (Fields memory f) {
        f.start = uint32(block.timestamp);
        f.expiry = f.start + MONTH;
        f.paid = PRICE;
        f.plan = 3;
        f.rate = 50;
        f.bandwidth = 1024;
        f.quota = 100_000;
        f.seq = 1;
        f.token = 1;
        f.validUntil = minute(block.timestamp + 5 minutes);
    }

    function minute(uint256 time) internal pure returns (uint24) {
        return uint24((time - TermsLib.MINUTES_FROM) / 60);
    }

    function pack(Fields memory f) internal pure returns (uint256 word) {
        word = f.validUntil;
        word = word << 8 | f.token;
        word = word << 16 | f.seq;
        word = word << 32 | f.quota;
        word = word << 16 | f.bandwidth;
        word = word << 16 | f.rate;
        word = word << 16 | f.plan;
        word = word << 64 | f.paid;
        word = word << 32 | f.expiry;
        word = word << 32 | f.start;
    }

    /// The digest computed here, apart from the contract's own.
    function digestOf(address who, address paidIn, uint256 terms) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Octroi"),
                keccak256("1"),
                block.chainid,
                address(octroi)
            )
        );
        bytes32 quote = keccak256(
            abi.encode(
                keccak256("Quote(address subscriber,bytes32 serviceId,address token,uint256 terms)"),
                who,
                SERVICE,
                paidIn,
                terms
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, quote));
    }

    function sign(uint256 key, uint256 terms) internal view returns (bytes32 r, bytes32 vs) {
        return vm.signCompact(key, digestOf(subscriber, address(token), terms));
    }

    function pay(Fields memory f) internal returns (uint256 terms) {
        terms = pack(f);
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms, r, vs);
    }

    function refused(Fields memory f, bytes memory why) internal {
        uint256 terms = pack(f);
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        uint256 before = octroi.slotOf(subscriber, SERVICE);
        vm.expectRevert(why);
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms, r, vs);
        assertEq(octroi.slotOf(subscriber, SERVICE), before);
    }

    function useSecondToken() internal returns (uint8 index) {
        token = new DevStablecoin();
        token.mint(subscriber, 1e15);
        vm.prank(subscriber);
        token.approve(address(octroi), type(uint256).max);
        vm.prank(admin);
        return octroi.addToken(address(token));
    }

    function missingRole(address who, bytes32 role) internal pure returns (bytes memory) {
        return abi.encodeWithSignature("AccessControlUnauthorizedAccount(address,bytes32)", who, role);
    }
}
