// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What has been paid in one token and is not yet split: one storage word, so that a payment writes one.
struct Ledger {
    uint8 index;
    bool enabled;
    uint24 epoch;
    // Paid in this epoch, in the one before, and earlier; smallest units. Together at most 72 bits.
    uint72 current;
    uint72 previous;
    uint72 settled;
}

using LedgerLib for Ledger global;

/// The arithmetic of a ledger. Pure, so that it can be proved apart from the contract that uses it.
library LedgerLib {
    /// @notice A token's unsplit payments would exceed 72 bits; withdrawing makes room.
    error LedgerFull();

    /// @notice All that the ledger holds.
    /// @param ledger The ledger.
    /// @return The sum of its three pots.
    function total(Ledger memory ledger) internal pure returns (uint256) {
        return uint256(ledger.current) + ledger.previous + ledger.settled;
    }

    /// @notice Moves a ledger to a later epoch: what is two epochs old leaves escrow.
    /// @dev Nothing overflows, since `put` bounds the sum and this keeps it.
    /// @param ledger The ledger, changed in place.
    /// @param epoch The present epoch, never before the ledger's.
    function roll(Ledger memory ledger, uint24 epoch) internal pure {
        if (epoch == ledger.epoch) return;
        ledger.settled += ledger.previous;
        ledger.previous = ledger.current;
        ledger.current = 0;
        if (epoch > uint256(ledger.epoch) + 1) {
            ledger.settled += ledger.previous;
            ledger.previous = 0;
        }
        ledger.epoch = epoch;
    }

    /// @notice Takes a payment into escrow.
    /// @param ledger The ledger, rolled to the present epoch; changed in place.
    /// @param amount What was paid.
    function put(Ledger memory ledger, uint256 amount) internal pure {
        if (amount > type(uint72).max - total(ledger)) revert LedgerFull();
        unchecked {
            ledger.current += uint72(amount);
        }
    }

    /// @notice Takes a refund out: first of what has left escrow, then of the older epoch, then of this one.
    /// @dev While no refund exceeds the payment it undoes by more than `settled` then holds, every payment
    /// that may still be refunded stays covered. Let P and C be the sums of the refundable payments of the
    /// previous and the current epoch; a refundable payment is of one of the two. Then current >= C and
    /// previous + current >= P + C always hold: `put` adds to both sides; `roll` makes P what C was, and what
    /// was P is past its window; a refund of d from C or P lowers previous + current by at most d, and current
    /// only once previous is 0, where current >= P + C - d is the new P + C.
    /// @param ledger The ledger, rolled to the present epoch; changed in place.
    /// @param amount What is wanted.
    /// @return missing What the ledger does not hold of it.
    function draw(Ledger memory ledger, uint256 amount) internal pure returns (uint256 missing) {
        unchecked {
            // Each part is at most a pot of 72 bits.
            uint256 part = _min(amount, ledger.settled);
            ledger.settled -= uint72(part);
            missing = amount - part;
            part = _min(missing, ledger.previous);
            ledger.previous -= uint72(part);
            missing -= part;
            part = _min(missing, ledger.current);
            ledger.current -= uint72(part);
            missing -= part;
        }
    }

    /// @notice The fee in an amount, rounded in the payee's favour.
    /// @param amount What is split, at most 72 bits.
    /// @param bps The fee in basis points, at most 10,000.
    /// @return The fee, at most the amount.
    function cut(uint256 amount, uint16 bps) internal pure returns (uint256) {
        return amount * bps / 10_000;
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
