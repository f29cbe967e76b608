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

/// @notice What a grant's own payments have in escrow, written where it carried earlier ones over: one storage word.
/// @param seq The payment that it was written with; of another it says nothing.
/// @param epoch The epoch that it stands at.
/// @param current Paid in this epoch, in the token's smallest units.
/// @param previous Paid in the epoch before.
struct Stake {
    uint16 seq;
    uint24 epoch;
    uint72 current;
    uint72 previous;
}

using LedgerLib for Ledger global;
using LedgerLib for Stake global;

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

    /// Moves a stake to the present epoch. What has left escrow is no longer the grant's own.
    function roll(Stake memory stake, uint24 epoch) internal pure {
        if (epoch == stake.epoch) return;
        (stake.current, stake.previous,) = rolled(stake.current, stake.previous, 0, epoch - stake.epoch);
        stake.epoch = epoch;
    }

    /// Takes a refund of a grant out of a ledger, both at the present epoch; returns what they lack of it.
    function draw(Ledger memory ledger, Stake memory stake, uint64 amount)
        internal
        pure
        returns (uint72 missing)
    {
        (ledger.current, ledger.previous, ledger.settled, missing) = drawn(
            ledger.current, ledger.previous, ledger.settled, stake.current + stake.previous, amount
        );
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

    /// The pots after a refund of a grant that has `own` in escrow: it takes first of what has left escrow, then of
    /// the older epoch, then of this one, but of escrow no more than is its own; and what it lacks then.
    ///
    /// So no refund takes what another grant may be refunded. Let P and C be the sums of all grants' stakes of the
    /// previous and of the current epoch. Then current >= C and previous + current >= P + C always hold: a payment
    /// adds to both sides; an epoch later P is what C was, and what P was is nobody's; a refund of a grant with p
    /// of P and c of C lowers previous + current by p + c at most, and current only once previous is 0, where
    /// current >= P + C - (p + c) >= C - c.
    function drawn(uint72 current, uint72 previous, uint72 settled, uint72 own, uint64 amount)
        internal
        pure
        returns (uint72, uint72, uint72, uint72 missing)
    {
        if (amount <= settled) return (current, previous, settled - amount, 0);
        uint72 rest = amount - settled;
        if (rest > own) (missing, rest) = (rest - own, own);
        if (rest <= previous) return (current, previous - rest, 0, missing);
        return (current - (rest - previous), 0, 0, missing);
    }

    /// The fee in an amount, rounded in the payee's favour.
    function cut(uint72 amount, uint16 bps) internal pure returns (uint256) {
        return uint256(amount) * bps / 10_000;
    }
}
