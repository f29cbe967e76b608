// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { LedgerLib } from "../src/Ledger.sol";
import { TermsLib } from "../src/Terms.sol";

/// Statements about the arithmetic of payments that solc's SMTChecker proves for all inputs (script/prove.mjs):
/// they call the very functions that the contract calls. Each function is one theorem; its arguments are
/// arbitrary but for what is required. That nothing in them overflows or divides by zero is proved with them.
contract TermsProof {
    /// What is held is at most what was paid: all of it before the start, nothing after the end.
    function remainderIsBounded(uint64 amount, uint32 from, uint32 to, uint256 time) external pure {
        uint256 left = TermsLib.remainder(amount, from, to, time);
        assert(left <= amount);
        assert(time > from || left == amount);
        assert(time <= from || time < to || left == 0);
    }

    /// What is held is the exact share of the time that is left, rounded down.
    function remainderIsTheShareRoundedDown(uint64 amount, uint32 from, uint32 to, uint32 time)
        external
        pure
    {
        require(from < time && time < to);
        uint256 left = TermsLib.remainder(amount, from, to, time);
        uint256 length = uint256(to) - from;
        uint256 share = uint256(amount) * (uint256(to) - time);
        assert(left * length <= share);
        assert(share < left * length + length);
    }

    /// What is due and what is held make the price.
    function dueIsThePriceLessWhatIsHeld(uint64 price, uint64 paid, uint32 from, uint32 to, uint32 time)
        external
        pure
    {
        uint256 held = TermsLib.remainder(paid, from, to, time);
        // Below what is held it reverts, with an error of a kind that the checker does not model.
        require(price >= held);
        uint256 due = TermsLib.lessHeld(price, held);
        assert(due + held == price);
        assert(due <= type(uint64).max);
    }

    /// A refund that the contract allows exists at every time: what is held is never more than what was paid,
    /// and never grows.
    function whatIsHeldNeverGrows(uint64 paid, uint32 from, uint32 to, uint32 time, uint32 later)
        external
        pure
    {
        require(time <= later && from < to);
        assert(TermsLib.remainder(paid, from, to, later) <= TermsLib.remainder(paid, from, to, time));
    }
}

contract LedgerProof {
    /// Whatever fits goes on fitting, however many epochs pass: rolling makes and loses nothing.
    function rollingConserves(uint72 current, uint72 previous, uint72 settled, uint24 epochs) external pure {
        require(LedgerLib.fits(current, previous, settled, 0) && epochs > 0);
        (uint72 c, uint72 p, uint72 s) = LedgerLib.rolled(current, previous, settled, epochs);
        assert(LedgerLib.sum(c, p, s) == LedgerLib.sum(current, previous, settled));
        assert(c == 0);
        assert(epochs > 1 || (p == current && s == settled + previous));
        assert(epochs == 1 || p == 0);
    }

    /// A payment is added without a carry into another field, and what fitted before goes on fitting.
    function payingFits(uint72 current, uint72 previous, uint72 settled, uint256 amount) external pure {
        require(LedgerLib.fits(current, previous, settled, amount));
        assert(amount <= type(uint72).max);
        assert(uint256(current) + amount <= type(uint72).max);
        assert(uint256(current) + amount + previous + settled <= type(uint72).max);
    }

    /// A refund takes what it says: first what has left escrow, then what is the grant's own there, and no more.
    function drawingTakesExactly(uint72 current, uint72 previous, uint72 settled, uint72 own, uint64 amount)
        external
        pure
    {
        require(own <= uint256(current) + previous);
        (uint72 c, uint72 p, uint72 s, uint256 missing) =
            LedgerLib.drawn(current, previous, settled, own, amount);
        assert(missing <= amount);
        uint256 taken = amount - missing;
        assert(LedgerLib.sum(c, p, s) + taken == LedgerLib.sum(current, previous, settled));
        assert(c <= current && p <= previous && s <= settled);
        assert(uint256(c) + p + own >= uint256(current) + previous);
        assert(missing == 0 || (s == 0 && taken == uint256(settled) + own));
    }

    /// The theorem at LedgerLib.drawn: where escrow covers the stakes P and C of both epochs, a refund of a grant
    /// that has a part in each leaves it covering the others', and lacks nothing up to that and what has left escrow.
    function drawingKeepsOthersCovered(
        uint72 current,
        uint72 previous,
        uint72 settled,
        uint64 amount,
        uint72 ownOfPrevious,
        uint72 ownOfCurrent,
        uint72 ofPrevious,
        uint72 ofCurrent
    ) external pure {
        require(LedgerLib.fits(current, previous, settled, 0));
        require(current >= ofCurrent);
        require(uint256(current) + previous >= uint256(ofPrevious) + ofCurrent);
        require(ownOfPrevious <= ofPrevious && ownOfCurrent <= ofCurrent);
        uint72 own = ownOfPrevious + ownOfCurrent;
        (uint72 c, uint72 p,, uint256 missing) = LedgerLib.drawn(current, previous, settled, own, amount);
        assert(c >= ofCurrent - ownOfCurrent);
        assert(uint256(c) + p >= uint256(ofPrevious) + ofCurrent - own);
        assert(missing == 0 || amount > uint256(own) + settled);
    }

    /// And an epoch later, it still does: what is refundable then is what was paid in the epoch before.
    function rollingKeepsCovered(uint72 current, uint72 previous, uint72 settled, uint72 ofCurrent)
        external
        pure
    {
        require(LedgerLib.fits(current, previous, settled, 0));
        require(current >= ofCurrent);
        (uint72 c, uint72 p,) = LedgerLib.rolled(current, previous, settled, 1);
        assert(uint256(c) + p >= ofCurrent);
    }

    /// The fee is a part of the amount, a fifth at most at the highest rate, and exact but for rounding down.
    function theFeeIsAPart(uint72 amount, uint16 bps) external pure {
        require(bps <= 2000);
        uint256 cut = LedgerLib.cut(amount, bps);
        assert(cut <= amount);
        assert(cut * 5 <= amount);
        assert(cut * 10_000 <= uint256(amount) * bps);
        assert(uint256(amount) * bps < (cut + 1) * 10_000);
    }
}
