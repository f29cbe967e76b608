// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What has been paid in one token and is not yet split: one storage word, so that a payment writes one.
/// @param index The token's index, from 1.
/// @param enabled Whether the token is taken.
/// @param epoch The epoch that the ledger stands at.
/// @param current Paid in this epoch, in the token's smallest units.
/// @param previous Paid in the epoch before.
/// @param settled Paid earlier: out of escrow. The three have 72 bits together.
struct Ledger {
    uint8 index;
    bool enabled;
    uint24 epoch;
    uint72 current;
    uint72 previous;
    uint72 settled;
}

using LedgerLib for Ledger global;

/// The arithmetic of a ledger. What moves money from pot to pot takes and gives values, since solc's SMTChecker
/// proves it in that form (contracts/proofs).
library LedgerLib {
    /// @notice A token's unsplit payments would exceed 72 bits; withdrawing makes room.
    error LedgerFull();

    /// All that the ledger holds.
    function total(Ledger memory ledger) internal pure returns (uint256) {
        return sum(ledger.current, ledger.previous, ledger.settled);
    }

    /// Moves a ledger to the present epoch, which is never before the ledger's.
    function roll(Ledger memory ledger, uint24 epoch) internal pure {
        if (epoch == ledger.epoch) return;
        (ledger.current, ledger.previous, ledger.settled) =
            rolled(ledger.current, ledger.previous, ledger.settled, epoch - ledger.epoch);
        ledger.epoch = epoch;
    }

    /// Takes a payment into the escrow of a ledger that stands at the present epoch.
    function put(Ledger memory ledger, uint256 amount) internal pure {
        if (!fits(ledger.current, ledger.previous, ledger.settled, amount)) revert LedgerFull();
        unchecked {
            ledger.current += uint72(amount);
        }
    }

    /// Takes a refund out of a ledger that stands at the present epoch; returns what the ledger lacks of it.
    function draw(Ledger memory ledger, uint64 amount) internal pure returns (uint72 missing) {
        (ledger.current, ledger.previous, ledger.settled, missing) =
            drawn(ledger.current, ledger.previous, ledger.settled, amount);
    }

    /// What the pots hold together.
    function sum(uint72 current, uint72 previous, uint72 settled) internal pure returns (uint256) {
        unchecked {
            return uint256(current) + previous + settled;
        }
    }

    /// Whether an amount more still fits 72 bits. As every payment asks, rolling never overflows.
    function fits(uint72 current, uint72 previous, uint72 settled, uint256 amount)
        internal
        pure
        returns (bool)
    {
        return amount <= type(uint72).max && sum(current, previous, settled) + amount <= type(uint72).max;
    }

    /// The pots one or more epochs later: what is two epochs old has left escrow.
    function rolled(uint72 current, uint72 previous, uint72 settled, uint24 epochs)
        internal
        pure
        returns (uint72, uint72, uint72)
    {
        if (epochs == 1) return (0, current, settled + previous);
        return (0, 0, settled + previous + current);
    }

    /// The pots after a refund, which takes first of what has left escrow, then of the older epoch, then of this
    /// one; and what they lack of it.
    ///
    /// While no refund exceeds the payment that it undoes by more than `settled` then holds, every payment that
    /// may still be refunded stays covered. Let P and C be the sums of the refundable payments of the previous
    /// and of the current epoch; a refundable payment is of one of the two. Then current >= C and
    /// previous + current >= P + C always hold: a payment adds to both sides; an epoch later P is what C was,
    /// and what P was is past its window; a refund of d out of P or C lowers previous + current by d at most,
    /// and current only once previous is 0, where current >= P + C - d, the new P + C.
    function drawn(uint72 current, uint72 previous, uint72 settled, uint64 amount)
        internal
        pure
        returns (uint72, uint72, uint72, uint72 missing)
    {
        if (amount <= settled) return (current, previous, settled - amount, 0);
        missing = amount - settled;
        if (missing <= previous) return (current, previous - missing, 0, 0);
        missing -= previous;
        if (missing <= current) return (current - missing, 0, 0, 0);
        return (0, 0, 0, missing - current);
    }

    /// The fee in an amount, rounded in the payee's favour.
    function cut(uint72 amount, uint16 bps) internal pure returns (uint256) {
        return uint256(amount) * bps / 10_000;
    }
}
