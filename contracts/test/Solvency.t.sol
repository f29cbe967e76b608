// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "forge-std/Test.sol";
import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { Terms } from "../src/Terms.sol";

/// Everybody who may move money or time, doing it at random in two tokens; keeps its own books.
contract Town is Fixture {
    struct Books {
        uint256 paidIn;
        uint256 refunded;
        uint256 earned;
        uint256 fees;
        uint256 gifts;
        uint256 sentBack;
        uint256 rescued;
        // What refunds took out of escrow beyond the payment that they undid.
        uint256 short;
    }

    struct Grant {
        uint256 terms;
        uint256 due;
        uint256 refunds;
    }

    uint256 public constant SUBSCRIBERS = 4;
    uint256 public constant TOKENS = 2;

    address[SUBSCRIBERS] public subscribers;
    DevStablecoin[TOKENS] public tokens;
    uint256[SUBSCRIBERS] private keys;
    uint256 private transfers;
    mapping(address token => Books) private books;
    mapping(address subscriber => Grant) private grants;
    mapping(address subscriber => uint256) public seqs;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < SUBSCRIBERS; i++) {
            (subscribers[i], keys[i]) = makeAddrAndKey(string.concat("subscriber ", vm.toString(i)));
        }
        tokens[0] = token;
        useSecondToken();
        tokens[1] = token;
        for (uint256 i = 0; i < SUBSCRIBERS * TOKENS; i++) {
            token = tokens[i % TOKENS];
            token.mint(subscribers[i / TOKENS], 1e30);
            vm.prank(subscribers[i / TOKENS]);
            token.approve(address(octroi), type(uint256).max);
        }
    }

    function contractUnderTest() external view returns (Octroi) {
        return octroi;
    }

    function booksOf(address which) external view returns (Books memory) {
        return books[which];
    }

    function grantOf(address who) external view returns (Grant memory) {
        return grants[who];
    }

    function pay(uint256 who, uint256 which, uint32 startBack, uint32 length, uint64 extra, bool keepStart)
        external
    {
        choose(who, which);
        Terms slot = Terms.wrap(octroi.slotOf(subscriber, SERVICE));
        bool runs = slot.expiry() > block.timestamp;
        Fields memory f = month();
        f.start = runs && keepStart ? slot.start() : f.start - uint32(bound(startBack, 0, 300));
        f.expiry = uint32(block.timestamp + bound(length, 1, 400 days));
        f.token = uint8(which % TOKENS + 1);
        f.validUntil = minute(block.timestamp + bound(startBack, 0, 1 days - 60));
        uint256 held = slot.token() == f.token ? slot.unused(f.start) : 0;
        f.paid = uint64(held + bound(extra, 0, 1e15));
        f.seq = slot.seq() + 1;
        if (octroi.isRevoked(subscriber, SERVICE)) return;
        uint256 before = token.balanceOf(subscriber);
        uint256 terms = pay(f);
        assertEq(before - token.balanceOf(subscriber), f.paid - held);
        books[address(token)].paidIn += f.paid - held;
        grants[subscriber] = Grant(terms, f.paid - held, 0);
        seqs[subscriber] = f.seq;
    }

    function replay(uint256 who) external {
        subscriber = subscribers[who % SUBSCRIBERS];
        uint256 terms = grants[subscriber].terms;
        if (terms == 0) return;
        token = tokens[Terms.wrap(terms).token() - 1];
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.expectRevert();
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms, r, vs);
    }

    function refund(uint256 who, uint256 amount) external {
        subscriber = subscribers[who % SUBSCRIBERS];
        Terms slot = Terms.wrap(octroi.slotOf(subscriber, SERVICE));
        if (!slot.granted() || block.timestamp >= slot.payableBefore() + 6 days) return;
        token = tokens[slot.token() - 1];
        amount = bound(amount, slot.unused(block.timestamp), slot.paid());
        Grant storage grant = grants[subscriber];
        Books storage book = books[address(token)];
        (uint256 escrow, uint256 earned,) = octroi.accounts(address(token));
        uint256 before = token.balanceOf(subscriber);
        vm.prank(refunder);
        try octroi.refund(subscriber, SERVICE, address(token), slot.seq(), amount) {
            assertEq(token.balanceOf(subscriber) - before, amount);
            (uint256 escrowAfter,,) = octroi.accounts(address(token));
            if (escrow - escrowAfter > grant.due) book.short += escrow - escrowAfter - grant.due;
            book.refunded += amount;
            grant.refunds += 1;
            seqs[subscriber] = slot.seq() + 1;
        } catch {
            // Only more than was ever there for it.
            assertGt(amount, escrow + earned, "refused although it was covered");
            assertGt(amount + book.short, grant.due, "the last payment itself was not covered");
        }
    }

    function refundAgain(uint256 who) external {
        subscriber = subscribers[who % SUBSCRIBERS];
        Grant memory grant = grants[subscriber];
        if (grant.refunds == 0) return;
        Terms terms = Terms.wrap(grant.terms);
        address paidIn = address(tokens[terms.token() - 1]);
        uint16 seq = terms.seq();
        for (uint16 i = 0; i < 2; i++) {
            vm.expectRevert();
            vm.prank(refunder);
            octroi.refund(subscriber, SERVICE, paidIn, seq + i, i == 0 ? terms.paid() : 0);
        }
    }

    function refundTransfer(uint256 which, uint64 amount) external {
        token = tokens[which % TOKENS];
        uint256 spare = token.balanceOf(address(octroi)) - octroi.liabilities(address(token));
        bytes32 id = keccak256(abi.encode(++transfers));
        vm.startPrank(refunder);
        vm.expectRevert();
        octroi.refundTransfer(id, address(token), stranger, spare + 1);
        if (spare == 0) return vm.stopPrank();
        uint256 sent = bound(amount, 1, spare);
        octroi.refundTransfer(id, address(token), stranger, sent);
        books[address(token)].sentBack += sent;
        vm.expectRevert();
        octroi.refundTransfer(id, address(token), stranger, 1);
        vm.stopPrank();
    }

    function pass(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 5 days));
    }

    function revoke(uint256 who) external {
        address subject = subscribers[who % SUBSCRIBERS];
        bool revoked = octroi.isRevoked(subject, SERVICE);
        vm.prank(operator);
        octroi.setRevoked(subject, SERVICE, !revoked);
    }

    function withdraw(uint256 which) external {
        token = tokens[which % TOKENS];
        (, uint256 amount,) = octroi.accounts(address(token));
        if (amount == 0) return;
        vm.prank(payee);
        octroi.withdraw(address(token));
        books[address(token)].earned += amount;
    }

    function withdrawFees(uint256 which) external {
        token = tokens[which % TOKENS];
        (,, uint256 amount) = octroi.accounts(address(token));
        if (amount == 0) return;
        vm.prank(admin);
        octroi.withdrawFees(address(token));
        books[address(token)].fees += amount;
    }

    function setFee(uint16 bps) external {
        vm.prank(admin);
        octroi.setFee(uint16(bound(bps, 0, 2000)), feeRecipient);
    }

    function give(uint256 which, uint64 amount) external {
        token = tokens[which % TOKENS];
        token.mint(address(octroi), amount);
        books[address(token)].gifts += amount;
    }

    function rescue(uint256 which) external {
        token = tokens[which % TOKENS];
        uint256 spare = token.balanceOf(address(octroi)) - octroi.liabilities(address(token));
        if (spare == 0) return;
        vm.prank(admin);
        octroi.rescue(address(token), stranger);
        books[address(token)].rescued += spare;
    }

    function choose(uint256 who, uint256 which) private {
        subscriber = subscribers[who % SUBSCRIBERS];
        token = tokens[which % TOKENS];
    }
}

contract SolvencyTest is Test {
    Town private town;
    Octroi private octroi;

    function setUp() public {
        town = new Town();
        town.setUp();
        octroi = town.contractUnderTest();
        bytes4[12] memory acts = [
            Town.pay.selector,
            Town.replay.selector,
            Town.refund.selector,
            Town.refundAgain.selector,
            Town.refundTransfer.selector,
            Town.pass.selector,
            Town.revoke.selector,
            Town.withdraw.selector,
            Town.withdrawFees.selector,
            Town.setFee.selector,
            Town.give.selector,
            Town.rescue.selector
        ];
        // Paying is drawn more often than each of the rest.
        bytes4[] memory drawn = new bytes4[](acts.length + 3);
        for (uint256 i = 0; i < drawn.length; i++) {
            drawn[i] = i < acts.length ? acts[i] : acts[0];
        }
        targetContract(address(town));
        targetSelector(FuzzSelector(address(town), drawn));
    }

    /// What is owed is there. Escrow, the payee's and the fees, withdrawn ones too, and what was refunded make
    /// what was paid.
    function invariant_solvency() public view {
        for (uint256 i = 0; i < town.TOKENS(); i++) {
            DevStablecoin token = town.tokens(i);
            Town.Books memory book = town.booksOf(address(token));
            (uint256 escrow, uint256 earned, uint256 fees) = octroi.accounts(address(token));
            uint256 owed = escrow + earned + fees;
            assertEq(owed, octroi.liabilities(address(token)));
            assertEq(owed + book.earned + book.fees + book.refunded, book.paidIn);
            assertGe(token.balanceOf(address(octroi)), owed);
            assertEq(
                token.balanceOf(address(octroi)), owed + book.gifts - book.sentBack - book.rescued, "balance"
            );
        }
    }

    /// Escrow covers every payment that may still be refunded, but for what refunds of grants that had carried
    /// earlier payments over took beyond their own payment.
    function invariant_escrowCoversWhatIsRefundable() public view {
        for (uint256 i = 0; i < town.TOKENS(); i++) {
            address token = address(town.tokens(i));
            uint256 refundable;
            for (uint256 j = 0; j < town.SUBSCRIBERS(); j++) {
                address subscriber = town.subscribers(j);
                Terms slot = Terms.wrap(octroi.slotOf(subscriber, keccak256("api")));
                bool open = slot.granted() && block.timestamp < slot.payableBefore() + 6 days;
                if (open && slot.token() == i + 1) refundable += town.grantOf(subscriber).due;
            }
            (uint256 escrow,,) = octroi.accounts(token);
            assertGe(escrow + town.booksOf(token).short, refundable);
        }
    }

    /// A grant is the last payment as it was signed, or nothing; no seq goes back or is skipped; nothing is
    /// refunded twice.
    function invariant_grants() public view {
        for (uint256 i = 0; i < town.SUBSCRIBERS(); i++) {
            address subscriber = town.subscribers(i);
            Town.Grant memory grant = town.grantOf(subscriber);
            uint256 word = octroi.slotOf(subscriber, keccak256("api"));
            uint256 seq = town.seqs(subscriber);
            assertEq(word, grant.refunds == 0 ? grant.terms : seq << 208);
            assertEq(Terms.wrap(word).seq(), seq);
            assertLe(grant.refunds, 1);
        }
    }
}
