// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MoodyToken, OctroiNext } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { DevStablecoin } from "../src/DevStablecoin.sol";
import { Octroi } from "../src/Octroi.sol";
import { PaymentProcessor } from "../src/PaymentProcessor.sol";
import { Terms } from "../src/Terms.sol";

/// Everybody who may move money or time, doing it at random in three tokens, one of which has moods; keeps its own
/// books. What must be refused is tried too, and must leave everything as it was.
contract Town is Fixture {
    struct Books {
        uint256 paidIn;
        uint256 refunded;
        uint256 earned;
        uint256 fees;
        uint256 gifts;
        uint256 sentBack;
        uint256 rescued;
    }

    struct Grant {
        uint256 terms;
        uint256 due;
        uint256 refunds;
    }

    struct Payment {
        uint256 epoch;
        uint256 due;
    }

    uint256 public constant SUBSCRIBERS = 4;
    uint256 public constant TOKENS = 3;

    address[SUBSCRIBERS] public subscribers;
    DevStablecoin[TOKENS] public tokens;
    mapping(address subscriber => uint256) private keys;
    uint256 private transfers;
    mapping(address token => Books) private books;
    mapping(address subscriber => Grant) private grants;
    // Those that the grant stands on, from the last that carried nothing over.
    mapping(address subscriber => Payment[]) private chains;
    mapping(address subscriber => uint256) public seqs;

    MoodyToken private moody;
    MoodyToken.Mood private mood;
    address private shunned;
    address[2] private implementations;
    uint256 private signers;
    uint256 private previousKey;
    uint256 private previousUntil;
    mapping(address token => bool) private stopped;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < SUBSCRIBERS; i++) {
            (address who, uint256 key) = makeAddrAndKey(string.concat("subscriber ", vm.toString(i)));
            (subscribers[i], keys[who]) = (who, key);
        }
        tokens[0] = token;
        useSecondToken();
        tokens[1] = token;
        moody = new MoodyToken();
        tokens[2] = DevStablecoin(address(moody));
        vm.prank(admin);
        octroi.addToken(address(moody));
        for (uint256 i = 0; i < SUBSCRIBERS * TOKENS; i++) {
            token = tokens[i % TOKENS];
            token.mint(subscribers[i / TOKENS], 1e30);
            vm.prank(subscribers[i / TOKENS]);
            token.approve(address(octroi), type(uint256).max);
        }
        implementations = [address(new OctroiNext()), address(new Octroi())];
        previousKey = signerKey;
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

    /// What of a grant's own payments is in escrow at most.
    function ownOf(address who) public view returns (uint256 own) {
        uint256 epoch = block.timestamp / 7 days;
        for (uint256 i = 0; i < chains[who].length; i++) {
            if (chains[who][i].epoch + 1 >= epoch) own += chains[who][i].due;
        }
    }

    function pay(uint256 who, uint256 which, uint32 startBack, uint32 length, uint64 extra, uint8 how)
        external
    {
        Terms slot = Terms.wrap(octroi.slotOf(subscribers[who % SUBSCRIBERS], SERVICE));
        // Mostly the token of before, since only that carries something over.
        if (slot.granted() && how & 24 != 0) which = slot.token() - 1;
        choose(who, which);
        Fields memory f = month();
        bool runs = slot.expiry() > block.timestamp;
        f.start = runs && how & 1 != 0 ? slot.start() : f.start - uint32(bound(startBack, 0, 300));
        f.expiry = uint32(block.timestamp + bound(length, 1, 400 days));
        f.token = uint8(which % TOKENS + 1);
        f.validUntil = minute(block.timestamp + bound(startBack, 0, 1 days - 60));
        uint256 held = slot.token() == f.token ? slot.unused(f.start) : 0;
        f.paid = uint64(held + bound(extra, 0, 1e15));
        f.seq = slot.seq() + 1;
        uint256 terms = pack(f);
        bool refusal = refusesPayments(how & 2 != 0);
        uint256 before = token.balanceOf(subscriber);
        send(terms, f.paid - held, how, refusal);
        assertEq(before - token.balanceOf(subscriber), refusal ? 0 : f.paid - held);
        if (!refusal) record(terms, f.paid - held, held == 0);
    }

    function replay(uint256 who) external {
        subscriber = subscribers[who % SUBSCRIBERS];
        uint256 terms = grants[subscriber].terms;
        if (terms == 0) return;
        token = tokens[Terms.wrap(terms).token() - 1];
        send(terms, 0, 0, true);
    }

    function refund(uint256 who, uint256 amount) external {
        subscriber = subscribers[who % SUBSCRIBERS];
        Terms slot = Terms.wrap(octroi.slotOf(subscriber, SERVICE));
        if (!slot.granted() || block.timestamp >= slot.payableBefore() + 6 days) return;
        token = tokens[slot.token() - 1];
        amount = amount % 2 == 0 ? slot.paid() : bound(amount, slot.unused(block.timestamp), slot.paid());
        Grant storage grant = grants[subscriber];
        (uint256 escrow, uint256 earned,) = octroi.accounts(address(token));
        uint256 before = token.balanceOf(subscriber);
        bool failing = fails(subscriber);
        vm.prank(refunder);
        try octroi.refund(subscriber, SERVICE, address(token), slot.seq(), amount) {
            assertFalse(failing, "a token in no mood for it moved money");
            assertEq(token.balanceOf(subscriber) - before, amount);
            (uint256 escrowAfter,,) = octroi.accounts(address(token));
            assertLe(escrow - escrowAfter, ownOf(subscriber), "more of escrow than was its own");
            books[address(token)].refunded += amount;
            grant.refunds += 1;
            seqs[subscriber] = slot.seq() + 1;
            delete chains[subscriber];
        } catch (bytes memory why) {
            assertEq(Terms.unwrap(slot), octroi.slotOf(subscriber, SERVICE));
            if (bytes4(why) != PaymentProcessor.NotCovered.selector) {
                return assertTrue(failing, "refused for another reason");
            }
            assertGt(amount, grant.due + earned, "refused although it was covered");
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
        if (spare == 0 || fails(stranger)) return vm.stopPrank();
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

    function revoke(uint256 who, uint8 often) external {
        address subject = subscribers[who % SUBSCRIBERS];
        bool revoked = octroi.isRevoked(subject, SERVICE);
        if (!revoked && often % 4 != 0) return;
        vm.prank(operator);
        octroi.setRevoked(subject, SERVICE, !revoked);
    }

    /// Long enough for all to leave escrow, and then everything is withdrawn: grants that run on hold what is gone.
    function retire(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 14 days, 30 days));
        for (uint256 i = 0; i < TOKENS; i++) {
            withdraw(i);
        }
    }

    function withdraw(uint256 which) public {
        token = tokens[which % TOKENS];
        (, uint256 amount,) = octroi.accounts(address(token));
        if (fails(payee) || amount == 0) vm.expectRevert();
        else books[address(token)].earned += amount;
        vm.prank(operator);
        octroi.withdraw(address(token));
    }

    function withdrawFees(uint256 which) external {
        token = tokens[which % TOKENS];
        (,, uint256 amount) = octroi.accounts(address(token));
        if (fails(feeRecipient) || amount == 0) vm.expectRevert();
        else books[address(token)].fees += amount;
        vm.prank(operator);
        octroi.withdrawFees(address(token));
    }

    function setFee(uint16 bps) external {
        vm.prank(admin);
        octroi.setFee(uint16(bound(bps, 0, 2000)), feeRecipient);
    }

    function give(uint256 which, uint64 amount) external {
        token = tokens[which % TOKENS];
        if (fails(address(octroi))) return;
        token.mint(address(octroi), amount);
        books[address(token)].gifts += amount;
    }

    function topUp(uint256 who, uint256 which, uint64 amount) external {
        choose(who, which);
        if (fails(subscriber)) vm.expectRevert();
        else books[address(token)].paidIn += amount;
        vm.prank(subscriber);
        octroi.topUp(address(token), amount);
    }

    function rescue(uint256 which) external {
        token = tokens[which % TOKENS];
        uint256 spare = token.balanceOf(address(octroi)) - octroi.liabilities(address(token));
        if (spare == 0 || fails(stranger)) vm.expectRevert();
        else books[address(token)].rescued += spare;
        vm.prank(admin);
        octroi.rescue(address(token), stranger);
    }

    // What is out of order is mostly put in order again: else little would happen in between.
    function pause(uint8 often) external {
        bool on = often % 8 == 0;
        if (on == octroi.paused()) vm.expectRevert();
        vm.prank(on ? operator : admin);
        if (on) octroi.pause();
        else octroi.unpause();
    }

    function stop(uint256 which, uint8 often) external {
        bool enabled = often % 8 != 0;
        token = tokens[which % TOKENS];
        stopped[address(token)] = !enabled;
        vm.prank(admin);
        octroi.setTokenEnabled(address(token), enabled);
    }

    function rotate(uint32 overlap) external {
        (address next, uint256 key) = makeAddrAndKey(string.concat("signer ", vm.toString(++signers)));
        (previousKey, signerKey) = (signerKey, key);
        previousUntil = block.timestamp + bound(overlap, 0, 7 days);
        vm.prank(admin);
        octroi.setSigner(next, uint64(previousUntil));
    }

    function upgrade(uint256 which) external {
        vm.prank(admin);
        octroi.upgradeToAndCall(implementations[which % 2], "");
    }

    function handOver(bool done) external {
        address next = admin == stranger ? makeAddr("admin") : stranger;
        vm.prank(admin);
        octroi.beginDefaultAdminTransfer(next);
        if (!done) return;
        vm.warp(block.timestamp + 1);
        vm.prank(next);
        octroi.acceptDefaultAdminTransfer();
        admin = next;
    }

    function feel(uint256 mood_, uint256 who) external {
        address[7] memory all = [
            subscribers[0],
            subscribers[1],
            subscribers[2],
            subscribers[3],
            payee,
            feeRecipient,
            address(octroi)
        ];
        mood = mood_ % 12 < 5 ? MoodyToken.Mood(mood_ % 12) : MoodyToken.Mood.Good;
        shunned = all[who % all.length];
        moody.feel(mood, shunned);
    }

    /// Whether the token refuses to move money between the contract and somebody.
    function fails(address who) public view returns (bool) {
        if (address(token) != address(moody)) return false;
        if (mood == MoodyToken.Mood.Blacklisting) return shunned == who || shunned == address(octroi);
        return mood == MoodyToken.Mood.Paused || mood == MoodyToken.Mood.Lying;
    }

    /// Gives back, one after the other, the last payment of everybody who may have it back.
    function refundEverybody() external {
        moody.feel(MoodyToken.Mood.Good, address(0));
        for (uint256 i = 0; i < SUBSCRIBERS; i++) {
            Terms slot = Terms.wrap(octroi.slotOf(subscribers[i], SERVICE));
            uint256 due = grants[subscribers[i]].due;
            bool open = slot.granted() && block.timestamp < slot.payableBefore() + 6 days;
            if (!open || slot.unused(block.timestamp) > due) continue;
            token = tokens[slot.token() - 1];
            vm.prank(refunder);
            octroi.refund(subscribers[i], SERVICE, address(token), slot.seq(), due);
        }
    }

    function record(uint256 terms, uint256 due, bool afresh) private {
        books[address(token)].paidIn += due;
        grants[subscriber] = Grant(terms, due, 0);
        seqs[subscriber] = Terms.wrap(terms).seq();
        if (afresh) delete chains[subscriber];
        chains[subscriber].push(Payment(block.timestamp / 7 days, due));
    }

    function refusesPayments(bool bySignerBefore) private view returns (bool) {
        if (octroi.isRevoked(subscriber, SERVICE) || octroi.paused()) return true;
        if (stopped[address(token)] || fails(subscriber)) return true;
        return bySignerBefore && previousKey != signerKey && block.timestamp > previousUntil;
    }

    /// `how`: bit 1 the signer before, bit 2 an authorization where the token knows them.
    function send(uint256 terms, uint256 due, uint8 how, bool refusal) private {
        (bytes32 r, bytes32 vs) = sign(how & 2 != 0 ? previousKey : signerKey, terms);
        uint256 slot = octroi.slotOf(subscriber, SERVICE);
        uint256 owed = octroi.liabilities(address(token));
        if (how & 4 != 0 && address(token) != address(moody)) {
            PaymentProcessor.Authorization memory a = authorizationOf(due, terms);
            if (refusal) vm.expectRevert();
            vm.prank(stranger);
            octroi.payWithAuthorization(subscriber, SERVICE, address(token), terms, r, vs, a);
        } else {
            if (refusal) vm.expectRevert();
            vm.prank(subscriber);
            octroi.pay(SERVICE, address(token), terms, r, vs);
        }
        assertEq(octroi.slotOf(subscriber, SERVICE), refusal ? slot : terms);
        assertEq(octroi.liabilities(address(token)), owed + (refusal ? 0 : due));
    }

    function authorizationOf(uint256 value, uint256 terms)
        private
        view
        returns (PaymentProcessor.Authorization memory a)
    {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        a.validBefore = block.timestamp + 1;
        bytes32 nonce = digestOf(subscriber, address(token), terms);
        bytes32 inner = keccak256(abi.encode(typehash, subscriber, octroi, value, 0, a.validBefore, nonce));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
        (a.v, a.r, a.s) = vm.sign(keys[subscriber], digest);
    }

    function choose(uint256 who, uint256 which) private {
        subscriber = subscribers[who % SUBSCRIBERS];
        token = tokens[which % TOKENS];
    }
}
